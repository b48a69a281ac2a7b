"""Where things of the cards lie, and how files are replaced there."""

from __future__ import annotations

import grp
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GROUP = "farrier-gpu"
_PCI = re.compile(r"([0-9a-f]+):([0-9a-f]{2}):([0-9a-f]{2})\.([0-9a-f])", re.IGNORECASE)


def _from_environment(variable: str, path: str) -> Path:
    """Tests show other cards by it."""
    return Path(os.environ.get(variable, path))


@dataclass(frozen=True)
class Places:
    """Paths; a test gives its own."""

    proc: Path = field(default_factory=lambda: _from_environment("FARRIER_GPU_PROC", "/proc/driver/nvidia"))
    sysfs: Path = field(default_factory=lambda: _from_environment("FARRIER_GPU_SYSFS", "/sys/bus/pci/devices"))
    kernel_log: Path = field(default_factory=lambda: _from_environment("FARRIER_GPU_KMSG", "/dev/kmsg"))
    declared: Path = field(default_factory=lambda: _from_environment("FARRIER_GPU_DECLARED", "/etc/farrier/gpus.json"))
    run: Path = field(default_factory=lambda: _from_environment("FARRIER_GPU_RUN", "/run/farrier/gpu"))
    textfiles: Path = field(
        default_factory=lambda: _from_environment("FARRIER_GPU_TEXTFILES", "/var/lib/prometheus/node-exporter")
    )
    devices: Path = Path("/dev")
    processes: Path = Path("/proc")
    units: Path = Path("/etc/systemd/system")

    @property
    def state(self) -> Path:
        """What the watcher saw last."""
        return self.run / "state.json"

    @property
    def forgotten(self) -> Path:
        """Xid errors that an administrator has dealt with: the number of the last one in the kernel log, by card."""
        return self.run / "forgotten.json"

    def environment(self, unit: str) -> Path:
        """The variables that a unit's start check writes."""
        return self.run / f"{unit}.env"


def pci_address(text: str) -> str:
    """One form for what sysfs, /proc, NVML (`00000000:3B:00.0`) and people write: `0000:3b:00.0`. Raises ValueError."""
    found = _PCI.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is no PCI address such as 0000:3b:00.0")
    domain, bus, device, function = found.groups()
    return f"{int(domain, 16):04x}:{bus}:{device}.{function}".lower()


def declared_cards(places: Places) -> list[dict[str, Any]]:
    """The cards that the inventory gives this host, in their order; none where it gives none."""
    try:
        found: list[dict[str, Any]] = json.loads(places.declared.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return [
        card | {"index": card.get("index", number), "pci": pci_address(card["pci"])}
        for number, card in enumerate(found)
    ]


def read_json(path: Path) -> dict[str, Any]:
    """A small file; empty where there is none."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found


def replace(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file that readers find whole, the old one or the new one. It need not outlive a crash of the host."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(text, encoding="utf-8")
    new.chmod(mode)
    new.rename(path)


def make_folders(places: Places, indexes: list[int]) -> None:
    """Folders for the cards' locks, where the group of those who may use a card can make files."""
    places.run.mkdir(parents=True, exist_ok=True)
    try:
        group = grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return
    for index in indexes:
        folder = places.run / f"card-{index}"
        folder.mkdir(exist_ok=True)
        if folder.stat().st_gid != group:
            os.chown(folder, -1, group)
        if folder.stat().st_mode & 0o7777 != 0o2770:
            folder.chmod(0o2770)
