"""Which of NVIDIA's two kernel modules a card needs, told from its PCI device id.

The ids of a generation lie side by side (pci.ids of 2025): Kepler ends at 0x130b; Maxwell, Pascal and Volta lie between
0x1340 and 0x1df6; Turing begins at 0x1e02, and ends with Ampere, Hopper and Ada at 0x28f8; Blackwell begins at 0x2900.
The open module needs the GSP processor, which came with Turing; Blackwell works with nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from farrier.gpu_models import MODELS
from farrier.nvidia.look import Card

Flavour = Literal["open", "proprietary"]
_MAXWELL, _TURING, _BLACKWELL = 0x1340, 0x1E02, 0x2900


@dataclass(frozen=True)
class Choice:
    """The modules that drive all cards of a host; none, where one card is too old or two exclude each other."""

    possible: frozenset[Flavour]
    problem: str = ""


def modules_of(card: Card) -> frozenset[Flavour]:
    """The modules that can drive one card; none for one that is too old for every driver which is maintained."""
    device = int(card.device, 16)
    if device < _MAXWELL:
        return frozenset()
    if device < _TURING:
        return frozenset({"proprietary"})
    return frozenset({"open"}) if device >= _BLACKWELL else frozenset({"open", "proprietary"})


def choice(cards: Sequence[Card]) -> Choice:
    """The modules that drive all of `cards`, or why there are none."""
    for card in cards:
        if not modules_of(card):
            return Choice(
                frozenset(),
                f"{named(card)} is older than Maxwell (2014): no driver that is maintained drives it; take the card "
                "out, or say in the inventory that the host has none for us (no `farrier_gpus`)",
            )
    possible = frozenset[Flavour]({"open", "proprietary"}).intersection(*(modules_of(card) for card in cards))
    if possible:
        return Choice(possible)
    old = ", ".join(named(card) for card in cards if modules_of(card) == {"proprietary"})
    new = ", ".join(named(card) for card in cards if modules_of(card) == {"open"})
    return Choice(
        frozenset(),
        f"no one driver drives all cards: {old} needs the proprietary module, {new} the open one; take one kind out",
    )


def named(card: Card) -> str:
    """A card for people: `Tesla T4 at 0000:3b:00.0`."""
    return f"{model(card)} at {card.pci}"


def model(card: Card) -> str:
    """Its name, or the numbers that lspci shows too."""
    known = MODELS.get(int(card.device, 16))
    return known.name if known else f"NVIDIA [10de:{card.device.removeprefix('0x')}]"
