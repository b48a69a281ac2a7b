"""Text for a terminal: columns, colours where somebody looks, times and durations for people."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

_COLOURS = {
    "done": "32",
    "failed": "31",
    "lost": "31",
    "displaced": "33",
    "running": "33",
    "queued": "36",
    "cancelled": "2",
    "head": "2",
}


def is_coloured(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether standard output is a terminal whose user has nothing against colours."""
    return sys.stdout.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def coloured(text: str, word: str, *, on: bool) -> str:
    """`text` in the colour of a state, if it has one."""
    return f"\x1b[{_COLOURS[word]}m{text}\x1b[0m" if on and word in _COLOURS else text


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], *, colour: bool) -> str:
    """Rows under a head, left-aligned; a cell that is a state has its colour."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]

    def line(row: Sequence[str], word: str = "") -> str:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        # Coloured after padding: the terminal does not show the colour's own characters.
        cells = (coloured(each, word or cell, on=colour) for each, cell in zip(padded, row, strict=True))
        return "  ".join(cells).rstrip()

    return "\n".join([line(head, "head"), *(line(row) for row in rows)])


def when(wall: float | None) -> str:
    """A time, UTC; a dash for none."""
    return "-" if wall is None else f"{datetime.fromtimestamp(wall, UTC):%Y-%m-%d %H:%M:%S}"


def lasted(seconds: float | None) -> str:
    """A duration: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`; a dash for none."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    return f"{hours} h {left} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def size(number: float | None) -> str:
    """Bytes; a dash for none."""
    if number is None:
        return "-"
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.3g} {unit}"
        number /= 1024
    return f"{number:.3g} GiB"
