"""May a job start on these cards, and was it others who left it no memory? Pure decisions; all memory is in bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from app.core.gpu.state import Card, Memory, Process, State
from app.core.gpu.words import held_by, size

# Of a card that is a job's alone so much must be free: the driver keeps a little, and a desktop's few MB harm nobody.
WHOLE = 0.9
LITTLE = 256 * 1024**2  # bytes that others may hold, such as a monitor's context, without being to blame


@dataclass(frozen=True, slots=True)
class Need:
    """What each job of a unit needs: so many bytes on each of these cards; None: all of each, and nobody beside it."""

    unit: str
    cards: tuple[int, ...]
    memory: int | None


@dataclass(frozen=True, slots=True)
class Reservation:
    """A job that runs on a card, whether it has taken its memory yet or not. `memory` as in Need."""

    unit: str
    pid: int
    memory: int | None


def obstacle(need: Need, card: Card, others: Sequence[Reservation], ended: Collection[int] = ()) -> str | None:
    """Why a job cannot start on this card now, in words; None: it can.

    `others`: the reservations of live holders; `ended`: processes that are gone though the state still has them.
    """
    if card.problem or card.memory is None:
        return card.problem or "its memory cannot be read"
    for other in others:
        if need.memory is None or other.memory is None:
            return f"its lock is held by {other.unit} (PID {other.pid})"
    needed = need.memory or int(card.memory.total * WHOLE)
    free = card.memory.free + _held(each for each in card.processes if each.pid in ended)
    promised = {unit: max(0, _declared(others, unit) - _used_by(card, unit)) for unit in {each.unit for each in others}}
    if free - sum(promised.values()) >= needed:
        return None
    present = [each for each in card.processes if each.pid not in ended]
    told = [held_by(card, present), *(f"{size(left)} promised to {unit}" for unit, left in promised.items() if left)]
    return f"{', '.join(told)}; {_room(free, card.memory)}, {size(needed)} needed"


def _room(free: int, memory: Memory) -> str:
    return f"{size(free)} of {size(memory.total)} free"


def _held(processes: Iterable[Process]) -> int:
    return sum(each.memory or 0 for each in processes)


def _declared(reservations: Iterable[Reservation], unit: str) -> int:
    return sum(each.memory or 0 for each in reservations if each.unit == unit)


def _used_by(card: Card, unit: str) -> int:
    return _held(each for each in card.processes if each.unit == unit)


def crowded(need: Need, state: State) -> str | None:
    """Who left a job of ours too little memory on one of its cards, in words; None: it had what it declared."""
    for index in need.cards:
        card = state.by_index.get(index)
        if card and card.memory and (to_blame := _to_blame(need, card, card.memory)):
            return f"GPU {index}: {held_by(card, to_blame)}"
    return None


def _to_blame(need: Need, card: Card, memory: Memory) -> Sequence[Process]:
    # One that ended while it was looked up has no user: it may have been the job's own step.
    others = [each for each in card.processes if each.unit != need.unit and each.user]
    foreign = [each for each in others if each.stack is None]
    if _held(foreign) > LITTLE:
        return foreign
    declared = need.memory or memory.total - LITTLE
    return others if memory.total - _held(others) < declared else ()
