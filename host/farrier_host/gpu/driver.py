"""What the loaded driver says of itself and its cards in /proc/driver/nvidia."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from farrier_host.gpu.places import Places, pci_address

# "NVIDIA UNIX x86_64 Kernel Module  535.309.01  …" and "NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  …"
_VERSION = re.compile(r"NVRM version:.*?Kernel Module.*?\s(\d+\.\d+(?:\.\d+)*)\s")


@dataclass(frozen=True)
class Shown:
    """A card that the driver has taken. `uuid` is empty as long as nothing has woken the card."""

    pci: str
    uuid: str
    minor: int
    model: str


def loaded_version(places: Places) -> str | None:
    """The version of the loaded kernel module; None when none is loaded."""
    try:
        text = (places.proc / "version").read_text(encoding="utf-8")
    except OSError:
        return None
    found = _VERSION.search(text)
    return found.group(1) if found else None


def shown_cards(places: Places) -> dict[str, Shown]:
    """The driver's cards by PCI address."""
    cards = (_card(folder) for folder in sorted((places.proc / "gpus").glob("*:*")))
    return {card.pci: card for card in cards if card}


def _card(folder: Path) -> Shown | None:
    try:
        lines = (folder / "information").read_text(encoding="utf-8").splitlines()
        told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        uuid = told.get("GPU UUID", "")
        return Shown(
            pci_address(folder.name), "" if "?" in uuid else uuid, int(told["Device Minor"]), told.get("Model", "")
        )
    except (OSError, KeyError, ValueError):
        return None  # it goes away just now


def on_bus(places: Places, pci: str) -> bool:
    """Whether the machine itself sees the card, with a driver or without."""
    return (places.sysfs / pci).exists()
