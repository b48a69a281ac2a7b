"""Who did what to a stack, when, and how it ended: a line of JSON each."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

from farrier_host.release.layout import Layout
from farrier_host.release.state import utc


@dataclass(frozen=True)
class Entry:
    """One thing that was done, or that a unit did by itself."""

    what: str  # deploy, mend, rollback, back, follow
    release: str | None
    result: str
    who: str = ""
    reason: str = ""
    seconds: float = 0.0
    when: str = ""


def note(layout: Layout, stack: str, entry: Entry) -> None:
    """Append an entry, with the time."""
    path = layout.history(stack)
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(asdict(entry) | {"when": utc()}) + "\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":  # a crash cut the line before
            line = f"\n{line}"
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(layout: Layout, stack: str) -> list[Entry]:
    """All entries, the oldest first. A line that a crash cut is left out."""
    try:
        lines = layout.history(stack).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    entries = []
    for line in lines:
        try:
            entries.append(Entry(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return entries
