"""Xid errors: what the driver writes into the kernel's log when something is wrong with a card, or a program on it.

The log and not NVML's events: it holds those of before this program started, and speaks when NVML no longer does (Xid
79, "GPU has fallen off the bus", ends every NVML session).
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from farrier_host.gpu.places import pci_address

# Those whose immediate action is RESET_GPU or RESTART_BM in NVIDIA's catalog, as of October 2025
# (https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html); and 48, an uncorrectable memory error, for
# which it has a workflow, and NVIDIA's own health checks a reset. Others are a program's own fault, or mended.
GRAVE = frozenset({46, 48, 62, 64, 79, 95, 109, 110, 119, 120, 136, 140, 143, 155, 156, 158})
# Newer drivers say in so many words what a card needs: "… changed from 0x0 (None) to 0x1 (GPU Reset Required)".
RECOVERY = 154
_XID = re.compile(r"NVRM: Xid \(PCI:(?P<pci>[0-9a-fA-F:]+)\): (?P<code>\d+), (?P<text>.*)")
_LOADED = re.compile(r"NVRM: loading NVIDIA UNIX")
_MOST = 8192  # bytes of one record of /dev/kmsg


@dataclass
class Xid:
    """The last error of a card. `number` is the record's in the log, `at` seconds since boot."""

    code: int
    text: str
    number: int
    at: float
    needs_reset: bool


@dataclass
class Xids:
    """What the log says of each card, by PCI address: `last` error, the one that condemns it, and how many of each."""

    last: dict[str, Xid] = field(default_factory=dict)
    grave: dict[str, Xid] = field(default_factory=dict)
    counts: dict[tuple[str, int], int] = field(default_factory=dict)

    def take(self, record: str) -> None:
        """Take in one record of the log: `priority,number,microseconds,flags;text`."""
        head, _, text = record.partition(";")
        if _LOADED.match(text):  # the cards were initialised anew
            self.last.clear()
            self.grave.clear()
        found = _XID.match(text)
        if not found:
            return
        _, number, microseconds, *_ = head.split(",")
        code, pci = int(found["code"]), _address(found["pci"])
        xid = Xid(code, found["text"], int(number), int(microseconds) / 1e6, _needs_reset(code, found["text"]))
        self.counts[pci, code] = self.counts.get((pci, code), 0) + 1
        self.last[pci] = xid
        if xid.needs_reset:
            self.grave[pci] = xid
        elif code == RECOVERY:
            self.grave.pop(pci, None)


def _needs_reset(code: int, text: str) -> bool:
    return not text.rstrip().endswith("(None)") if code == RECOVERY else code in GRAVE


def _address(text: str) -> str:
    """The log names no function: `0000:3b:00`."""
    return pci_address(text if "." in text else f"{text}.0")


class KernelLog:
    """The kernel's log, read on from where one was. A host that does not show its log has no Xid to tell."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def records(self) -> list[str]:
        """The records that are new; at first all since boot that the log still holds."""
        if self._descriptor is None:
            try:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
            except OSError:
                return []
        found: list[str] = []
        while True:
            try:
                text = os.read(self._descriptor, _MOST)
            except OSError as error:
                if error.errno == errno.EPIPE:  # the oldest were overwritten before they were read
                    continue
                break
            if not text:
                break
            found += text.decode(errors="replace").splitlines()
        return found
