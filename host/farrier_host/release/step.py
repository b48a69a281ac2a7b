"""One step of an activation: what is said before it, what it does, and whose processes it may change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """`touches`: units whose processes it may change; noted in the state before it begins."""

    say: str
    do: Callable[[], object]
    touches: tuple[str, ...] = ()
