"""Before a unit starts: its cards are where the plan put them, and it may use exactly those.

What is decided here is pure; `check` reads the host and writes the unit's variables.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from farrier_host.gpu.driver import Shown, loaded_version, on_bus, shown_cards
from farrier_host.gpu.places import Places, make_folders, pci_address, replace
from farrier_host.gpu.state import gone

_CARD_NODE = re.compile(r"/dev/nvidia(\d+)")
_ALSO = ("nvidiactl", "nvidia-uvm")  # without these two CUDA finds no card
_GROUPS = re.compile(r"char-.*nvidia|char-\*|/dev/char/195:|/dev/nvidia-caps")
_UNIT = re.compile(r"[A-Za-z0-9:_.@\\-]+\.service")
_AGAIN = "deploy its stack again"


class Refused(Exception):
    """The unit must not start. The text says why, and what to do."""


@dataclass(frozen=True)
class Wanted:
    """A card as the plan gave it to the unit: its number there, and its address."""

    index: int
    pci: str


@dataclass(frozen=True)
class Unit:
    """What systemd lets the unit use, drop-ins included."""

    name: str
    policy: str
    allowed: frozenset[str]
    private_devices: bool


@dataclass(frozen=True)
class Hardware:
    """What the host has: the driver's cards by address, those on the bus, and the device nodes there are."""

    loaded: str | None
    shown: Mapping[str, Shown]
    on_bus: frozenset[str]
    nodes: frozenset[str]


def wanted_card(text: str) -> Wanted:
    """`0=0000:3b:00.0` of the command line. Raises ValueError."""
    index, _, pci = text.partition("=")
    return Wanted(int(index), pci_address(pci))


def decide(unit: Unit, wanted: Sequence[Wanted], hardware: Hardware) -> list[str]:
    """Everything that speaks against the start; nothing when all is well."""
    if hardware.loaded is None:
        return ["the NVIDIA kernel module is not loaded: `modprobe nvidia` says why"]
    missing = [card for card in wanted if card.pci not in hardware.shown]
    if missing:
        return [
            f"GPU {card.index}: {gone(card.pci, hardware.shown, is_on_bus=card.pci in hardware.on_bus)}"
            for card in missing
        ]
    cards = {card.index: hardware.shown[card.pci] for card in wanted}
    refused = list(_not_allowed(unit, cards)) or list(_allowed_besides(unit, cards))
    return [*_nodes_missing(cards, hardware.nodes), *refused]


def _nodes_missing(cards: Mapping[int, Shown], nodes: frozenset[str]) -> Iterator[str]:
    wanted = [f"nvidia{card.minor}" for card in cards.values()]
    missing = [f"/dev/{name}" for name in (*wanted, *_ALSO) if name not in nodes]
    if missing:
        minors = " ".join(f"-c {card.minor}" for card in cards.values())
        yield (
            f"the unit would see no {', '.join(missing)}: `nvidia-modprobe {minors} -u` makes them; at boot "
            "nvidia-persistenced.service does"
        )


def _not_allowed(unit: Unit, cards: Mapping[int, Shown]) -> Iterator[str]:
    if unit.private_devices:
        yield f"{unit.name} has PrivateDevices=yes and would see no /dev/nvidia*: take that out of its drop-in"
    if unit.policy not in {"closed", "strict"}:
        yield f"{unit.name} has DevicePolicy={unit.policy} and could use every card: take that out of its drop-in"
    allowed = sorted(name for name in unit.allowed if _CARD_NODE.fullmatch(name))
    for index, card in cards.items():
        if f"/dev/nvidia{card.minor}" not in unit.allowed:
            yield (
                f"GPU {index} ({card.pci}) is /dev/nvidia{card.minor} now, but {unit.name} may use "
                f"{', '.join(allowed) or 'no card'}: write `minor: {card.minor}` to GPU {index} in farrier_gpus of "
                f"this host, and {_AGAIN}"
            )
    for name in _ALSO:
        if f"/dev/{name}" not in unit.allowed:
            yield f"{unit.name} may not use /dev/{name}, without which CUDA finds no card: {_AGAIN}"


def _allowed_besides(unit: Unit, cards: Mapping[int, Shown]) -> Iterator[str]:
    ours = {f"/dev/nvidia{card.minor}" for card in cards.values()}
    besides = {name for name in unit.allowed if _CARD_NODE.fullmatch(name) or _GROUPS.match(name)} - ours
    if besides:
        yield f"{unit.name} may use {', '.join(sorted(besides))} too, which the plan did not give it: {_AGAIN}"


def variables(wanted: Sequence[Wanted], uuids: Mapping[str, str]) -> str:
    """The text of the unit's environment file: CUDA sees these cards, in the plan's order, and no others."""
    named = ",".join(uuids[card.pci] for card in wanted)
    addresses = ",".join(card.pci for card in wanted)
    return f"CUDA_VISIBLE_DEVICES={named}\nCUDA_DEVICE_ORDER=PCI_BUS_ID\nFARRIER_GPU_PCI={addresses}\n"


def check(
    places: Places, name: str, wanted: Sequence[Wanted], uuid_of: Callable[[str], str | None], unit: Unit | None = None
) -> None:
    """Let the unit start, with its variables written; or raise Refused.

    `uuid_of` asks the driver for the UUID of a card that nothing has woken yet.
    """
    if not _UNIT.fullmatch(name):
        raise Refused(f"{name!r} is no service")
    places.environment(name).unlink(missing_ok=True)
    hardware = _hardware(places, wanted)
    against = decide(unit or unit_of(name), wanted, hardware)
    if against:
        raise Refused("\n".join(against))
    uuids = {card.pci: hardware.shown[card.pci].uuid or uuid_of(card.pci) or "" for card in wanted}
    unknown = [card for card in wanted if not uuids[card.pci]]
    if unknown:
        raise Refused(
            "\n".join(
                f"GPU {card.index} ({card.pci}): the driver does not tell its UUID: `farrier-gpus` says how the card is"
                for card in unknown
            )
        )
    make_folders(places, [card.index for card in wanted])
    replace(places.environment(name), variables(wanted, uuids))


def _hardware(places: Places, wanted: Sequence[Wanted]) -> Hardware:
    return Hardware(
        loaded=loaded_version(places),
        shown=shown_cards(places),
        on_bus=frozenset(card.pci for card in wanted if on_bus(places, card.pci)),
        nodes=frozenset(path.name for path in places.devices.glob("nvidia*")),
    )


def unit_of(name: str) -> Unit:
    """Ask systemd. Raises Refused where it does not answer."""
    properties = "--property=DevicePolicy,DeviceAllow,PrivateDevices"
    done = subprocess.run(["systemctl", "show", properties, name], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"systemd does not tell what {name} may use: {done.stderr.strip()}")
    return parsed(name, done.stdout)


def parsed(name: str, text: str) -> Unit:
    """What `systemctl show` prints: one line a device, `DeviceAllow=/dev/nvidia0 rw`."""
    told: dict[str, Any] = {"DeviceAllow": set()}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "DeviceAllow":
            told[key].add(value.rpartition(" ")[0])
        else:
            told[key] = value
    return Unit(
        name, told.get("DevicePolicy", "auto"), frozenset(told["DeviceAllow"]), told.get("PrivateDevices") == "yes"
    )
