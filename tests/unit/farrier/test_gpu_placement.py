"""Properties of the placement of GPU cards, whatever hosts and services look like."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from farrier.kinds.base import Gpus
from farrier.plan.gpu_words import unsuited
from farrier.plan.gpus import Placement, Want, place
from farrier.plan.model import GpuCard, GpuShare

GIB = 2**30
FEW = settings(max_examples=80, deadline=None)


@st.composite
def hosts(draw: st.DrawFn, most: int = 4) -> tuple[GpuCard, ...]:
    kinds = draw(st.lists(st.sampled_from([("6.1", 12), ("7.5", 15), ("8.0", 40)]), min_size=1, max_size=most))
    mine = draw(st.lists(st.booleans(), min_size=len(kinds), max_size=len(kinds)))
    return tuple(
        GpuCard(
            index=index,
            pci=f"0000:{index:02x}:00.0",
            model=f"of capability {capability}",
            memory=memory * GIB,
            capability=capability,
            owner="somebody's" if index and is_mine else None,
            minor=index,
        )
        for index, ((capability, memory), is_mine) in enumerate(zip(kinds, mine, strict=True))
    )


asked = st.one_of(
    st.builds(
        lambda count, memory, old: Gpus.model_validate({"count": count, "memory": memory, "min_capability": old}),
        st.integers(1, 2),
        st.one_of(st.none(), st.integers(1, 20).map(lambda size: size * GIB)),
        st.sampled_from([None, "7.0", "8.0"]),
    ),
    st.builds(
        lambda card, size: Gpus.model_validate({"cards": [card], "memory": size * GIB}), st.just(0), st.integers(1, 9)
    ),
    st.just(Gpus.model_validate("all")),
)


def wants_of(cards: Sequence[GpuCard], gpus: Sequence[Gpus]) -> list[Want]:
    """Those that are not refused already for themselves."""
    whole = [Want("a", f"s{place}", f"a-s{place}.service", each) for place, each in enumerate(gpus)]
    return [want for want in whole if unsuited(cards, want.gpus) is None]


def will_do(card: GpuCard, gpus: Gpus) -> bool:
    """Whether the card is one that was asked for; capabilities of one digit each compare as texts."""
    return card.owner is None and card.capability >= (gpus.min_capability or "") and card.memory >= (gpus.memory or 0)


def free_memory(cards: Sequence[GpuCard], shares: Sequence[GpuShare]) -> list[int]:
    """Bytes of each card that nobody has."""
    held = [(index, share.memory or cards[index].memory) for share in shares for index in share.cards]
    return [card.memory - sum(size for index, size in held if index == card.index) for card in cards]


def has_broken(cards: Sequence[GpuCard], wants: Sequence[Want], shares: Sequence[GpuShare]) -> bool:
    """Whether a card is given twice or overfull, somebody's, or not what was asked for."""
    held: dict[int, list[int]] = defaultdict(list)
    by_unit = {want.unit: want.gpus for want in wants}
    for share in shares:
        gpus = by_unit[share.unit]
        mine = [cards[index] for index in share.cards]
        if len(set(share.cards)) != len(share.cards) or not all(will_do(card, gpus) for card in mine):
            return True
        if not gpus.cards and gpus.count != "all" and len(mine) != gpus.number:
            return True
        for card in mine:
            held[card.index].append(gpus.memory or card.memory)
    # Nobody shares a card with one that has the whole: its memory is all there is.
    return any(sum(each) > cards[index].memory for index, each in held.items())


@FEW
@given(hosts(), st.lists(asked, max_size=6))
def test_no_card_is_overfull_and_each_has_what_it_asked_for(cards: tuple[GpuCard, ...], gpus: list[Gpus]) -> None:
    wants = wants_of(cards, gpus)
    placement = place(cards, wants)
    assert not has_broken(cards, wants, placement.shares)
    placed = {share.unit for share in placement.shares}
    assert placed | {want.unit for want in placement.refused} == {want.unit for want in wants}
    assert len(placed) + len(placement.refused) == len(wants)
    free = free_memory(cards, placement.shares)
    for asks in (want.gpus for want in placement.refused if not want.gpus.cards and want.gpus.count != "all"):
        fits = [card for card in cards if will_do(card, asks) and free[card.index] >= (asks.memory or card.memory)]
        assert len(fits) < asks.number


@FEW
@given(hosts(3), st.lists(asked, max_size=4))
def test_what_is_refused_fits_in_no_way(cards: tuple[GpuCard, ...], gpus: list[Gpus]) -> None:
    wants = wants_of(cards, gpus)
    if not place(cards, wants).refused:
        return
    groups = [tuple(index for index in range(len(cards)) if bits >> index & 1) for bits in range(1, 2 ** len(cards))]
    for each in product(groups, repeat=len(wants)):
        shares = [
            GpuShare(unit=w.unit, cards=group, memory=w.gpus.memory) for w, group in zip(wants, each, strict=True)
        ]
        whole = all(
            share.cards == tuple(card.index for card in cards if card.owner is None)
            for share, want in zip(shares, wants, strict=True)
            if want.gpus.count == "all"
        )
        named = all(
            0 in share.cards and len(share.cards) == 1 for share, w in zip(shares, wants, strict=True) if w.gpus.cards
        )
        assert not (whole and named) or has_broken(cards, wants, shares)


def shares_by_unit(placement: Placement) -> dict[str, tuple[int, ...]]:
    return {share.unit: share.cards for share in placement.shares}


@FEW
@given(hosts(), st.lists(asked, max_size=5), st.integers(1, 15))
def test_a_share_that_comes_last_moves_nobody_where_there_is_room_beside(
    cards: tuple[GpuCard, ...], gpus: list[Gpus], size: int
) -> None:
    before = wants_of(cards, gpus)
    after = wants_of(cards, [*gpus, Gpus.model_validate({"memory": size * GIB})])
    old, new = place(cards, before), place(cards, after)
    if old.refused or new.refused:
        return
    free = free_memory(cards, old.shares)
    if any(card.owner is None and free[card.index] >= size * GIB for card in cards):
        kept = shares_by_unit(new)
        assert {unit: kept[unit] for unit in shares_by_unit(old)} == shares_by_unit(old)


@FEW
@given(hosts(), st.lists(asked, max_size=5))
def test_cards_are_given_the_same_way_again(cards: tuple[GpuCard, ...], gpus: list[Gpus]) -> None:
    wants = wants_of(cards, gpus)
    assert place(cards, wants) == place(cards, wants)


def card(index: int, memory: int, capability: str = "7.5") -> GpuCard:
    return GpuCard(
        index=index,
        pci=f"0000:{index:02x}:00.0",
        model="A card",
        memory=memory * GIB,
        capability=capability,
        minor=index,
    )


def test_a_way_is_found_that_begins_unlike_the_best_fit() -> None:
    """Best fit puts the first shares onto the small card, which is the only one that will do for the last."""
    cards = (card(0, 15), card(1, 15), card(2, 15), card(3, 10, "8.0"))
    shares = [Want("a", "s", f"a-s@{index}.service", Gpus.model_validate({"memory": "5G"})) for index in range(9)]
    last = Want("a", "t", "a-t.service", Gpus.model_validate({"memory": "10G", "min_capability": "8.0"}))
    assert place(cards, [*shares, last]).refused == ()


def test_a_great_many_replicas_are_placed_or_refused_in_no_time() -> None:
    cards = tuple(card(index, 15 + index) for index in range(16))
    gpus = Gpus.model_validate({"count": 2, "memory": "4G"})
    wants = [Want("a", "s", f"a-s@{index}.service", gpus) for index in range(64)]
    placement = place(cards, wants)
    assert len(placement.shares) == sum(card.memory // (4 * GIB) for card in cards) // 2
