"""The text of /proc/driver/nvidia, as the two flavours of the kernel module write it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

# As Debian 12's 535 (proprietary) and NVIDIA's own 580 (open) print it; the second lines are the compilers'.
_PROPRIETARY = """\
NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Mon Jan  5 12:00:00 UTC 2026
GCC version:  gcc version 12.2.0 (Debian 12.2.0-14+deb12u1)
"""
_OPEN = """\
NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {version}  Release Build  (dvs-builder@U22-I3)  Mon Jan  5
GCC version:  gcc version 12.2.0 (Debian 12.2.0-14+deb12u1)
"""
_INFORMATION = """\
Model: \t\t {model}
IRQ:   \t\t 72
GPU UUID: \t {uuid}
Video BIOS: \t 90.04.38.00.03
Bus Type: \t PCIe
DMA Size: \t 47 bits
DMA Mask: \t 0x7fffffffffff
Bus Location: \t {pci}
Device Minor: \t {minor}
GPU Firmware: \t N/A
GPU Excluded:\t No
"""


class Runs(Protocol):
    """A host that runs shell commands."""

    def run(self, command: str, timeout: float | None = None) -> object: ...


def load(host: Runs, folder: str) -> None:
    """Let a driver be in a test host's kernel that says what stands in the folder; until the next reboot."""
    over = "/proc/driver"
    host.run(f"mountpoint -q {over} || mount -t tmpfs tmpfs {over}; ln -sfn {folder} {over}/nvidia")


class Shown(Protocol):
    """What the driver says of a card."""

    @property
    def pci(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def uuid(self) -> str: ...
    @property
    def minor(self) -> int: ...


def tree(cards: Iterable[Shown], driver: str, *, is_open: bool) -> Iterator[tuple[str, str]]:
    """Path below /proc/driver/nvidia, and text."""
    yield "version", (_OPEN if is_open else _PROPRIETARY).format(version=driver)
    for card in cards:
        yield (
            f"gpus/{card.pci}/information",
            _INFORMATION.format(model=card.model, uuid=card.uuid, pci=card.pci, minor=card.minor),
        )
