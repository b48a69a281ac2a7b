"""Which GPU card goes to whom: pure, and the same for the same input.

Cards that are named go first, then whole cards, then shares; in each of these, stacks and services as their files have
them. Of all placements the first in that order is taken: what is added behind the others moves none of them, unless it
fits only so. Whole cards are taken from the front of the host's list, shares from its end, so that they meet late.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, islice

from farrier.host import Gpu
from farrier.kinds.base import Gpus
from farrier.plan.model import GpuCard, GpuShare
from farrier.values import capability_key

Cards = tuple[GpuCard, ...]
# Bounds a search for which there is no quick way. Real hosts take one step a unit; what is not found is refused.
_STEPS = 2_000
_CHOICES = 1_000  # of several cards, at one step


@dataclass(frozen=True)
class Want:
    """The cards that one unit asks for."""

    stack: str
    service: str
    unit: str
    gpus: Gpus = field(hash=False)

    @property
    def owner(self) -> tuple[str, str]:
        """Stack and service: where it is written."""
        return self.stack, self.service


@dataclass(frozen=True)
class Placement:
    """`shares` in the order of the wants; `refused` are those for which there is no room beside the others."""

    shares: tuple[GpuShare, ...]
    refused: tuple[Want, ...]


def host_cards(gpus: Sequence[Gpu]) -> Cards:
    """The cards as the plan knows them."""
    return tuple(
        GpuCard(
            index=index,
            pci=gpu.pci,
            model=gpu.model,
            memory=gpu.memory,
            capability=gpu.capability,
            owner=gpu.owner,
            minor=index if gpu.minor is None else gpu.minor,
        )
        for index, gpu in enumerate(gpus)
    )


def for_stacks(cards: Sequence[GpuCard]) -> Cards:
    """The cards that are nobody's."""
    return tuple(card for card in cards if card.owner is None)


def named(cards: Sequence[GpuCard], gpus: Gpus) -> Cards | None:
    """The cards that it names, or all that are nobody's; None where any will do. Names of no card are not in it."""
    if gpus.cards:
        return tuple(card for card in cards if card.index in gpus.cards or card.pci in gpus.cards)
    return for_stacks(cards) if gpus.count == "all" else None


def suits(card: GpuCard, gpus: Gpus) -> bool:
    """Whether a service may have the card, were it alone on the host."""
    return card.owner is None and is_new_enough(card, gpus) and is_large_enough(card, gpus)


def is_new_enough(card: GpuCard, gpus: Gpus) -> bool:
    """Whether the card's capability is the one asked for, or a newer one."""
    asked = gpus.min_capability
    return asked is None or capability_key(card.capability) >= capability_key(asked)


def is_large_enough(card: GpuCard, gpus: Gpus) -> bool:
    """Whether the share asked for fits on the card when that is empty."""
    return gpus.memory is None or card.memory >= gpus.memory


def place(cards: Sequence[GpuCard], wants: Sequence[Want]) -> Placement:
    """Give cards to all wants, each of which suits the host when it is alone there; see gpu_words.unsuited."""
    order, refused = sorted(wants, key=lambda want: _rank(cards, want)), set[Want]()
    while not (search := _Search(tuple(cards), order)).run():
        reached = len(search.furthest)
        # For its like behind it there is no room either.
        refused |= {want for want in order[reached:] if want.gpus == order[reached].gpus}
        order = [want for want in order if want not in refused]
    found = dict(zip((want.unit for want in order), search.furthest, strict=True))
    shares = (
        GpuShare(unit=want.unit, cards=tuple(sorted(found[want.unit])), memory=want.gpus.memory)
        for want in wants
        if want.unit in found
    )
    return Placement(tuple(shares), tuple(want for want in wants if want in refused))


def _rank(cards: Sequence[GpuCard], want: Want) -> int:
    if named(cards, want.gpus) is not None:
        return 0
    return 1 if want.gpus.memory is None else 2


@dataclass
class _Search:
    """Depth first through what each want may get, the best first. `furthest` holds the indices that each got."""

    cards: Cards
    order: Sequence[Want]
    furthest: list[tuple[int, ...]] = field(default_factory=list)
    dead: set[object] = field(default_factory=set)  # states from which there is no way on
    steps: int = 0

    def run(self) -> bool:
        """Whether all have got theirs; if not, the want behind the `furthest` is the one that does not fit."""
        return self._from([], {card.index: card.memory for card in self.cards})

    def _from(self, given: list[tuple[int, ...]], free: dict[int, int]) -> bool:
        if len(given) > len(self.furthest):
            self.furthest = list(given)
        if len(given) == len(self.order):
            return True
        # Two cards of a kind, filled alike, come to the same.
        state = len(given), tuple(sorted((card.capability, card.memory, free[card.index]) for card in self.cards))
        if state in self.dead or self.steps > _STEPS:
            return False
        self.steps += 1
        gpus = self.order[len(given)].gpus
        for choice in self._choices(gpus, free):
            taken = {card.index: free[card.index] - (gpus.memory or card.memory) for card in choice}
            if self._from([*given, tuple(taken)], free | taken):
                return True
        self.dead.add(state)
        return False

    def _choices(self, gpus: Gpus, free: dict[int, int]) -> Iterator[Cards]:
        """The groups of cards that are free enough, the fullest and least able ones first."""
        wanted = named(self.cards, gpus)
        fits = [card for card in self.cards if suits(card, gpus) and free[card.index] >= (gpus.memory or card.memory)]
        if wanted is not None:
            yield from [wanted] if set(wanted) <= set(fits) else []
            return
        if gpus.memory is None:
            fits.sort(key=lambda card: (capability_key(card.capability), card.memory, card.index))
        else:
            fits.sort(key=lambda card: (free[card.index], capability_key(card.capability), -card.index))
        yield from islice(combinations(fits, gpus.number), _CHOICES)
