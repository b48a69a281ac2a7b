"""Cards, memory and processes in words for people."""

from __future__ import annotations

import re
from collections.abc import Sequence

from app.core.gpu.state import Card, Process

GIB = 1024**3
NAMED = 2  # processes that one sentence names
_UNSAFE = re.compile(r"[^\w.@:/+ -]")


def size(number: float) -> str:
    """Memory as stack files count it: 1 GB is 1024³ bytes."""
    return f"{number / GIB:.0f} GB" if number >= GIB else f"{number / 1024**2:.0f} MB"


def who(process: Process) -> str:
    """A process with what an administrator needs to find it. Its name is anybody's choice, so it is made harmless."""
    unit = process.unit if process.stack else "no unit of ours"
    name = _UNSAFE.sub("?", process.name or "a process")[:40]
    return f"{name} (PID {process.pid}, {process.user or 'user unknown'}, {unit or f'stack {process.stack}'})"


def held_by(card: Card, processes: Sequence[Process]) -> str:
    """`11 GB held by python (PID 4711, alice, no unit of ours)`: the largest first, the rest counted."""
    ordered = sorted(processes, key=lambda each: each.memory or 0, reverse=True)
    if not ordered:
        used = card.memory.used if card.memory else 0
        return f"{size(used)} in use by nobody who can be seen"
    told = [f"{_amount(each)} held by {who(each)}" for each in ordered[:NAMED]]
    rest = ordered[NAMED:]
    more = f" and {sum(each.memory or 0 for each in rest) / GIB:.1f} GB by {len(rest)} more" if rest else ""
    return ", ".join(told) + more


def _amount(process: Process) -> str:
    return "memory" if process.memory is None else size(process.memory)
