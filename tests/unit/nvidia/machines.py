"""Hosts as the probe finds them, and what their apt knows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farrier.nvidia.look import Look, System
from farrier.nvidia.policy import Policy, parse
from tests.gpu import pci

POLICIES = Path(__file__).parent / "policy"
KERNEL = "6.1.0-56-amd64"
DEBIAN = System(id="debian", version_id="12", version_codename="bookworm")
TRIXIE = System(id="debian", version_id="13", version_codename="trixie")
UBUNTU = System(id="ubuntu", version_id="24.04", version_codename="noble")
VERSION = "535.309.01-0+deb12u1"
NAMES = ("nvidia-kernel-dkms", "nvidia-smi", "libcuda1", "libnvidia-cfg1", "libnvidia-ml1")
BARE: dict[str, Any] = {
    "loaded": None,
    "libraries": None,
    "bound": [],
    "nouveau": False,
    "running": KERNEL,
    "kernels": [KERNEL],
    "dkms": "",
    "logs": {},
    "packages": {"linux-image-amd64": {"state": "ii", "version": "6.1.192-2", "held": False}},
    "preferences": "",
    "sources": "",
    "persistent": False,
    "secure_boot": False,
    "enrolled": False,
    "indexes": [
        "http://mirror.example.org/debian/ bookworm main $(SIGNED_BY)",
        "http://mirror.example.org/debian/ bookworm-updates main $(SIGNED_BY)",
        "http://mirror.example.org/debian-security/ bookworm-security main /usr/share/keyrings/key.gpg",
    ],
}


def found(machine: str | Mapping[str, pci.Device], **driver: Any) -> Look:
    """A host with those cards; what is not said of its driver is as on a bare Debian 12."""
    slots = pci.MACHINES[machine] if isinstance(machine, str) else machine
    cards = [
        {"pci": slot, "vendor": f"{each.vendor:#06x}", "device": f"{each.device:#06x}", "class": f"{each.kind:#08x}"}
        for slot, each in slots.items()
    ]
    has_nvidia = any(each.vendor == 0x10DE for each in slots.values())
    return Look.model_validate({"cards": cards, "driver": BARE | driver if has_nvidia else None})


def installed(**changes: Any) -> dict[str, Any]:
    """What the driver's part of the look says after an installation on Debian 12."""
    held = ("linux-image-amd64", "linux-headers-amd64")
    own = {name: {"state": "ii", "version": VERSION, "held": False} for name in NAMES}
    others = {name: {"state": "hi", "version": "6.1.192-2", "held": True} for name in held}
    loose = {name: {"state": "ii", "version": "535.171.04-1~deb12u1", "held": False} for name in
             ("nvidia-modprobe", "nvidia-persistenced", "dkms")}  # fmt: skip
    return {
        "loaded": "535.309.01",
        "libraries": "535.309.01",
        "bound": ["0000:3b:00.0"],
        "dkms": f"nvidia-current/535.309.01, {KERNEL}, x86_64: installed\n",
        "packages": own | others | loose,
        "preferences": f"Package: *nvidia*\nPin: version {VERSION}\nPin-Priority: 1001\n",
    } | changes


def policies(name: str) -> dict[str, Policy]:
    """What `apt-cache policy` says there.

    Debian's were recorded (but for the mirror's name); Ubuntu's and NVIDIA's repositories were out of reach, and theirs
    are written after their documentation.
    """
    return parse((POLICIES / f"{name}.txt").read_text())
