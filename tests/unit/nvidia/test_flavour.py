"""Which kernel module drives which cards."""

from __future__ import annotations

import pytest

from farrier.nvidia.flavour import choice
from tests.gpu import pci
from tests.unit.nvidia.machines import found

BOTH, OLD, NEW = {"open", "proprietary"}, {"proprietary"}, {"open"}
CARDS: dict[str, tuple[pci.Device, set[str]]] = {
    "GTX 960, Maxwell": (pci.Device(0x10DE, 0x1401), OLD),
    "Tesla P40, Pascal": (pci.Device(0x10DE, 0x1B38), OLD),
    "Titan Xp, Pascal": (pci.TITAN_XP, OLD),
    "V100, Volta": (pci.V100, OLD),
    "Titan RTX, the first Turing": (pci.Device(0x10DE, 0x1E02), BOTH),
    "T4, Turing": (pci.T4, BOTH),
    "A100, Ampere": (pci.Device(0x10DE, 0x20B0), BOTH),
    "A10G, Ampere": (pci.A10G, BOTH),
    "H100, Hopper": (pci.Device(0x10DE, 0x2330), BOTH),
    "L40S, Ada": (pci.Device(0x10DE, 0x26B9), BOTH),
    "B200, Blackwell": (pci.B200, NEW),
    "RTX 5090, Blackwell": (pci.Device(0x10DE, 0x2B85), NEW),
}


@pytest.mark.parametrize(("card", "expected"), CARDS.values(), ids=CARDS)
def test_the_module_follows_the_device_id(card: pci.Device, expected: set[str]) -> None:
    assert choice(found({"0000:01:00.0": card}).nvidia).possible == expected


def test_an_old_card_beside_a_newer_one_takes_the_module_that_drives_both() -> None:
    assert choice(found("mixed").nvidia).possible == OLD


def test_a_card_that_no_driver_drives_any_more_is_named() -> None:
    chosen = choice(found({"0000:01:00.0": pci.K80, "0000:02:00.0": pci.T4}).nvidia)
    assert not chosen.possible
    assert "Tesla K80 at 0000:01:00.0 is older than Maxwell" in chosen.problem


def test_cards_that_exclude_each_other_are_named() -> None:
    chosen = choice(found({"0000:01:00.0": pci.V100, "0000:02:00.0": pci.B200}).nvidia)
    assert not chosen.possible
    assert "at 0000:01:00.0 needs the proprietary module, B200 at 0000:02:00.0 the open one" in (chosen.problem)
