"""What is said of GPU cards: who holds what, why a service cannot have the cards that it asks for, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from farrier.host import PREFIX
from farrier.kinds.base import Gpus
from farrier.plan.gpus import Cards, for_stacks, is_large_enough, is_new_enough, named, suits
from farrier.plan.model import GpuCard, GpuShare
from farrier.values import capability_key, human_size

HEADINGS = ("GPU", "PCI address", "model", "memory", "capability", "held by")
Key = tuple[str | int, ...]  # below a service's `gpus`


def rows(cards: Sequence[GpuCard], shares: Sequence[GpuShare]) -> list[tuple[str, ...]]:
    """A line for each card, in the order of HEADINGS."""
    return [
        (str(card.index), card.pci, card.model, human_size(card.memory), card.capability, _holders(card, shares))
        for card in cards
    ]


def table(cards: Sequence[GpuCard], shares: Sequence[GpuShare]) -> str:
    """The same as text, with a heading."""
    lines = [HEADINGS, *rows(cards, shares)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _holders(card: GpuCard, shares: Sequence[GpuShare]) -> str:
    if card.owner is not None:
        return f"{card.owner} (no stack's)"
    held = [share for share in shares if card.index in share.cards]
    words = [f"{each.unit} {'whole' if each.memory is None else human_size(each.memory)}" for each in held]
    free = card.memory - sum(each.memory or card.memory for each in held)
    return ", ".join([*words, f"{human_size(free)} free"] if free else words)


def unsuited(cards: Sequence[GpuCard], gpus: Gpus) -> tuple[Key, str] | None:
    """Why the host's cards cannot serve even one replica, all others being away: the key to mend, and how."""
    if gpus.cards:
        return _unknown(cards, gpus) or _named_unsuited(named(cards, gpus) or (), gpus)
    offered = for_stacks(cards)
    if gpus.count == "all":
        return _named_unsuited(offered, gpus)
    if sum(suits(card, gpus) for card in offered) >= gpus.number:
        return None
    return _too_few(offered, gpus)


def _unknown(cards: Sequence[GpuCard], gpus: Gpus) -> tuple[Key, str] | None:
    known = {name for card in cards for name in (card.index, card.pci)}
    for place, name in enumerate(gpus.cards):
        if name not in known:
            have = ", ".join(f"{card.index} ({card.pci})" for card in cards)
            return ("cards", place), f"this host has no GPU {name}; {PREFIX}gpus says: {have}"
    return None


def _named_unsuited(wanted: Cards, gpus: Gpus) -> tuple[Key, str] | None:
    for card in wanted:
        if card.owner is not None:
            place = next(place for place, name in enumerate(gpus.cards) if name in (card.index, card.pci))
            return ("cards", place), f"GPU {card.index} is {card.owner}, and no stack's; name another one"
        if not is_new_enough(card, gpus):
            return ("min_capability",), _too_old(card, gpus)
        if not is_large_enough(card, gpus):
            return ("memory",), _too_small(card, gpus)
    return None


def _too_few(offered: Cards, gpus: Gpus) -> tuple[Key, str]:
    new = [card for card in offered if is_new_enough(card, gpus)]
    if len(offered) < gpus.number:
        have = "1 card" if len(offered) == 1 else f"{len(offered)} cards"
        return ("count",), f"{gpus.number} cards are asked for, and this host has {have} for its stacks; lower `count`"
    if not new:
        return ("min_capability",), _too_old(max(offered, key=lambda card: capability_key(card.capability)), gpus)
    if len(new) < gpus.number:
        return ("min_capability",), f"{gpus.number} cards are asked for, and {len(new)} is new enough; lower `count`"
    largest = sorted(new, key=lambda card: card.memory)[-gpus.number]
    return ("memory",), _too_small(largest, gpus)


def _too_old(card: GpuCard, gpus: Gpus) -> str:
    return (
        f"capability {gpus.min_capability} is asked for, and GPU {card.index} ({card.model}) has {card.capability}; "
        f"lower `min_capability` if the program runs there, or give the card an `owner` in {PREFIX}gpus: no stack gets "
        "it then, and with no card left `without` decides"
    )


def _too_small(card: GpuCard, gpus: Gpus) -> str:
    return (
        f"{human_size(gpus.memory or 0)} are asked for, and GPU {card.index} ({card.model}) has "
        f"{human_size(card.memory)}; lower `memory`"
    )


def no_room(units: Sequence[str], gpus: Gpus) -> str:
    """What is said of units that do not fit beside the others."""
    cards = f"GPU {', '.join(map(str, gpus.cards))}" if gpus.cards else "every GPU" if gpus.count == "all" else None
    asked = cards or f"{gpus.number} GPU{'s' if gpus.number > 1 else ''}"
    asked += f" of capability {gpus.min_capability}" if gpus.min_capability else ""
    what = f"{human_size(gpus.memory)} of {asked}" if gpus.memory else f"{asked} for itself alone"
    remedy = "lower `memory`" if gpus.memory else "say how much `memory` it needs, to share a card"
    return (
        f"no room for {' and '.join(units)}, which asks for {what}; {remedy}, lower `replicas`, or take a stack off "
        f"this host ({PREFIX}stacks)"
    )


def none_here(host: str, cards: Sequence[GpuCard]) -> str:
    """What is said of a service that cannot be without, on a host that has no card for it."""
    what = f"every GPU of {host} has an owner" if cards else f"{host} has no GPU"
    return (
        f"{what} ({PREFIX}gpus among its inventory variables); declare one for stacks there (`lspci -D -d 10de:` on "
        "the host shows them), or say what to do without: `without: cpu` runs the service all the same, `without: "
        "skip` leaves it out"
    )
