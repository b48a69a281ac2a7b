"""PCI devices that are not there: a folder like /sys/bus/pci/devices, which real lspci and modprobe read as one."""

from __future__ import annotations

import base64
import io
import struct
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

FOLDER = "/var/lib/fakepci"
SYSFS = "/sys/bus/pci/devices"
_UNIT = f"""\
[Unit]
Description=PCI devices that are not there
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/mount --bind {FOLDER} {SYSFS}

[Install]
WantedBy=sysinit.target
"""


class Runs(Protocol):
    """A host that runs shell commands."""

    def run(self, command: str, timeout: float | None = None) -> object: ...


@dataclass(frozen=True)
class Device:
    """One PCI device: ids as pci.ids has them; `kind` is class, subclass and interface."""

    vendor: int
    device: int
    kind: int = 0x030200
    subsystem: tuple[int, int] = (0x10DE, 0x12A2)

    @property
    def modalias(self) -> str:
        """What the kernel asks modprobe for."""
        base, sub, interface = self.kind >> 16, self.kind >> 8 & 0xFF, self.kind & 0xFF
        ids = f"v{self.vendor:08X}d{self.device:08X}sv{self.subsystem[0]:08X}sd{self.subsystem[1]:08X}"
        return f"pci:{ids}bc{base:02X}sc{sub:02X}i{interface:02X}"

    def files(self) -> dict[str, bytes]:
        """Its folder in sysfs."""
        texts = {
            "vendor": f"{self.vendor:#06x}",
            "device": f"{self.device:#06x}",
            "subsystem_vendor": f"{self.subsystem[0]:#06x}",
            "subsystem_device": f"{self.subsystem[1]:#06x}",
            "class": f"{self.kind:#08x}",
            "revision": "0xa1",
            "irq": "11",
            "modalias": self.modalias,
            "resource": "\n".join(["0x0000000000000000 0x0000000000000000 0x0000000000000000"] * 13),
        }
        return {name: f"{text}\n".encode() for name, text in texts.items()} | {"config": self._config()}

    def _config(self) -> bytes:
        """The 64 bytes of a PCI header that lspci reads, and zeros."""
        header = struct.pack("<HHHHB", self.vendor, self.device, 0x0006, 0x0010, 0xA1)
        header += bytes([self.kind & 0xFF, self.kind >> 8 & 0xFF, self.kind >> 16])
        return header.ljust(0x2C, b"\0") + struct.pack("<HH", *self.subsystem).ljust(256 - 0x2C, b"\0")


T4 = Device(0x10DE, 0x1EB8)
A10G = Device(0x10DE, 0x2237)
V100 = Device(0x10DE, 0x1DB4)
TITAN_XP = Device(0x10DE, 0x1B02, 0x030000)
K80 = Device(0x10DE, 0x102D)
B200 = Device(0x10DE, 0x2901)
AMD = Device(0x1002, 0x73BF, 0x030000, (0x1002, 0x0E3A))
BRIDGE = Device(0x8086, 0x1237, 0x060000, (0, 0))  # every machine has one

# The machines that the tests know, by what is in their slots.
MACHINES: dict[str, dict[str, Device]] = {
    "none": {},
    "one T4": {"0000:3b:00.0": T4},
    "two of a kind": {"0000:3b:00.0": T4, "0000:5e:00.0": T4},
    "mixed": {"0000:3b:00.0": T4, "0000:af:00.0": TITAN_XP},
    "V100": {"0000:3b:00.0": V100},
    "AMD": {"0000:03:00.0": AMD},
}


def tree(devices: dict[str, Device]) -> dict[str, bytes]:
    """Path inside the folder -> content, of these devices and a bridge."""
    slots = {"0000:00:00.0": BRIDGE} | devices
    return {f"{slot}/{name}": text for slot, device in slots.items() for name, text in device.files().items()}


def write(folder: Path, devices: dict[str, Device]) -> Path:
    """Write the tree; returns the folder."""
    for path, content in tree(devices).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def plug(host: Runs, devices: dict[str, Device]) -> None:
    """Put the devices into a test host's slots in place of all others, also after its reboots."""
    unplug(host)
    unit = {"fakepci.service": _UNIT.encode()}
    host.run(f"{unpack(devices)} && {_unpack(unit, '/etc/systemd/system')} && systemctl daemon-reload")
    host.run("systemctl enable --quiet --now fakepci")


def unplug(host: Runs) -> None:
    """Show the host's own devices again."""
    host.run(f"systemctl disable --quiet --now fakepci; umount {SYSFS}; rm -rf {FOLDER}")


def unpack(devices: dict[str, Device], folder: str = FOLDER) -> str:
    """A shell command that writes the tree."""
    return _unpack(tree(devices), folder)


def _unpack(files: dict[str, bytes], folder: str) -> str:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    text = base64.b64encode(packed.getvalue()).decode()
    return f"mkdir -p {folder} && echo {text} | base64 -d | tar -xz --no-same-owner -C {folder}"
