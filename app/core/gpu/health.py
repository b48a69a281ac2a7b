"""What readiness says of the cards that a stack was given. It reads a file only: a driver that hangs delays nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from app.core.gpu.state import Card, NoAnswer, State, read_state

OK = "ok"


def gpu_checks(run: Path, cards: Collection[int]) -> dict[str, Callable[[], str]]:
    """For each card of the stack a check: it is there, its driver answers and fits, and it can be used.

    Memory that others hold is no reason not to be ready: jobs wait for it, and say so. Of the driver's errors (Xid)
    those that need a reset are a card's `problem`; the others are the fault of the program that ran, and only told.
    """

    def check(index: int) -> Callable[[], str]:
        return lambda: _outcome(run, index)

    return {f"gpu:{index}": check(index) for index in sorted(cards)}


def _outcome(run: Path, index: int) -> str:
    try:
        return verdict(read_state(run), index)
    except NoAnswer as why:
        return str(why)


def verdict(state: State, index: int) -> str:
    """`ok`, or what is wrong with a card, and what to do."""
    card = state.by_index.get(index)
    if card is None:
        return f"GPU {index} is not there; see `farrier-gpus`"
    if card.problem:
        return f"GPU {index}: {card.problem}"
    if card.memory is None:
        return f"GPU {index}: its memory cannot be read; see `farrier-gpus`"
    return OK


def gpu_facts(run: Path, cards: Collection[int]) -> list[dict[str, Any]]:
    """What is known of the stack's cards, for /health/ready; empty where nobody answers for them."""
    try:
        known: Mapping[int, Card] = read_state(run).by_index
    except NoAnswer:
        return []
    return [_facts(known[index]) for index in sorted(cards) if index in known]


def _facts(card: Card) -> dict[str, Any]:
    memory = card.memory.model_dump() if card.memory else None
    return {"index": card.index, "model": card.model, "memory": memory, "xid": card.xid}
