"""`farrier-gpus` for people: card → unit → process → memory, as wide as the terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from farrier_host.gpu.state import problems

STALE = 5.0  # seconds
COLUMNS = ("GPU", "card", "used", "unit", "process", "user", "memory")
_SHRINK = ("unit", "card", "process", "user")  # in turns, the widest first
_LEAST = 10
_GIB = 1024**3
_GAP = "  "


def watcher_problem(state: Mapping[str, Any] | None, now: float) -> str | None:
    """Whether the state can be believed; `now` in seconds of CLOCK_BOOTTIME."""
    if state is None:
        return "farrier-gpus.service has seen nothing yet: `systemctl status farrier-gpus` says why"
    age = now - float(state["at"])
    if age > STALE:
        return f"farrier-gpus.service wrote nothing for {age:.0f} s: `systemctl restart farrier-gpus`"
    return None


def lines(state: Mapping[str, Any], width: int | None) -> list[str]:
    """The table, then what is wrong; with no width nothing is cut."""
    shown = [COLUMNS, *rows(state)]
    return [*_aligned(shown, width), *(f"! {problem}" for problem in problems(state))]


def rows(state: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A line a process; a unit without a process on its card, and a card that nobody uses, are lines too."""
    for card in (*state["cards"], *state["others"]):
        head: Sequence[str] = _head(card)
        for use in _uses(card):
            yield (*head, *use)
            head = ("", "", "")


def _head(card: Mapping[str, Any]) -> tuple[str, str, str]:
    memory = card["memory"]
    used = f"{gib(memory['used'])} of {gib(memory['total'])}" if memory else "?"
    note = f", {card['owner']}" if card.get("owner") else ""
    index = card.get("index")
    return ("-" if index is None else str(index), f"{card['model'] or '?'} {card['pci']}{note}", used)


def _uses(card: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    busy = {process["unit"] for process in card["processes"] or ()}
    for process in card["processes"] or ():
        memory = "?" if process["memory"] is None else gib(process["memory"])
        name = f"{process['name'] or '?'} ({process['pid']})"
        yield process["unit"] or "", name, process["user"] or "?", memory
    for unit in card.get("units", ()):
        if unit not in busy:
            yield unit, "", "", ""
    if not card["processes"] and not card.get("units"):
        yield ("", "", "", "") if card.get("problem") else ("free", "", "", "")


def gib(size: int) -> str:
    """A size as people speak of it."""
    return f"{size / _GIB:.1f} GiB"


def _aligned(table: Sequence[Sequence[str]], width: int | None) -> Iterator[str]:
    widths = [max(len(row[column]) for row in table) for column in range(len(COLUMNS))]
    if width is not None:
        _shrink(widths, width - len(_GAP) * (len(COLUMNS) - 1))
    for row in table:
        cells = (_cut(cell, room).ljust(room) for cell, room in zip(row, widths, strict=True))
        yield _GAP.join(cells).rstrip()


def _shrink(widths: list[int], room: int) -> None:
    """Take from the widest column that may be cut, until all fit or none can give more."""
    able = [COLUMNS.index(name) for name in _SHRINK]
    while sum(widths) > room:
        widest = max(able, key=lambda column: widths[column])
        if widths[widest] <= _LEAST:
            return
        widths[widest] -= 1


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"
