"""What was found on a host, as plugins/module_utils/farrier_gpu.py reads it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

NVIDIA, AMD = "0x10de", "0x1002"


class Found(BaseModel):
    """A piece of what was found."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Card(Found):
    """A display controller. Vendor, device and class as sysfs writes them: `0x1eb8`."""

    pci: str
    vendor: str
    device: str
    kind: str = Field(alias="class")


class Package(Found):
    """`state` as `dpkg -l` abbreviates it: `ii` is installed, `iF` half-configured."""

    state: str
    version: str
    held: bool


class Driver(Found):
    """The driver's state. `bound`: PCI addresses that it drives; `kernels`: those the host can boot.

    `preferences` and `sources` are the texts of our own files for apt.
    """

    loaded: str | None
    libraries: str | None
    bound: tuple[str, ...]
    nouveau: bool
    running: str
    kernels: tuple[str, ...]
    dkms: str
    logs: dict[str, str]
    packages: dict[str, Package]
    preferences: str
    sources: str
    persistent: bool
    secure_boot: bool
    enrolled: bool
    indexes: tuple[str, ...]

    @property
    def works(self) -> bool:
        """Whether the module that is loaded drives a card, with libraries of its own version."""
        return self.loaded is not None and self.loaded == self.libraries and bool(self.bound)


class Look(Found):
    """All of it; `driver` is None on a host without a card of NVIDIA's."""

    cards: tuple[Card, ...]
    driver: Driver | None = None

    @property
    def nvidia(self) -> tuple[Card, ...]:
        """The cards that a driver is for."""
        return tuple(card for card in self.cards if card.vendor == NVIDIA)

    @property
    def amd(self) -> tuple[Card, ...]:
        """The cards that Farrier does not support."""
        return tuple(card for card in self.cards if card.vendor == AMD)


class System(Found):
    """The distribution, in os-release's words."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    version_id: str
    version_codename: str = ""
