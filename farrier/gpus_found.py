"""The cards that the inventory declares against those that the machine shows, and the lines that make them agree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from farrier.gpu_models import MODELS, GpuModel
from farrier.host import PREFIX
from farrier.nvidia.look import Card
from farrier.plan.model import GpuCard
from farrier.values import human_size

_INDENT = "\n      "


def differences(cards: Sequence[GpuCard], found: Sequence[Card]) -> list[str]:
    """What of the declared cards is not so; empty where none is declared, for then the host has none for stacks."""
    if not cards:
        return []
    devices = {each.pci: each.device for each in found}
    told = [text for card in cards for text in _card(card, devices)]
    declared = {card.pci for card in cards}
    # Where a card came, those behind it have another number.
    more = (each for each in found if each.pci not in declared)
    return told + [f"{_name(each.device)} at {each.pci} is not declared" for each in more]


def _card(card: GpuCard, devices: Mapping[str, str]) -> Iterator[str]:
    which = f"GPU {card.index} ({card.model})"
    if card.pci not in devices:
        yield f"{which} is not at {card.pci}" + (f"; find out which card is {card.owner} now" if card.owner else "")
        return
    model = _model(devices[card.pci])
    if model and card.capability != model.capability:
        yield f"{which} has capability {model.capability}, not {card.capability}: at {card.pci} is a {model.name}"
    if model and card.memory > model.total * 2**20:
        yield f"{which} has {human_size(model.total * 2**20)}, not {human_size(card.memory)}"


def lines(cards: Sequence[GpuCard], found: Sequence[Card]) -> str:
    """What to write for the cards that are there, each on a line; what was declared and is right stays."""
    if not found:
        return f"{_INDENT}{PREFIX}gpus: []"
    devices = {each.pci: each.device for each in found}
    kept = {card.pci: card for card in cards if not list(_card(card, devices))}
    owners = {card.pci: card.owner for card in cards}
    listed = [_line(each, kept.get(each.pci), owners.get(each.pci)) for each in found]
    return _INDENT + _INDENT.join([f"{PREFIX}gpus:", *listed])


def _line(found: Card, card: GpuCard | None, owner: str | None) -> str:
    model = _model(found.device)
    whose = f", owner: {json.dumps(owner)}" if owner else ""
    if card:
        size = f"{card.memory // 2**20}M" if card.memory % 2**30 else f"{card.memory // 2**30}G"
        return _item(card.pci, card.model, size, card.capability, whose)
    if model:
        return _item(found.pci, model.name, f"{model.memory // 2**30}G", model.capability, whose)
    unknown = _item(found.pci, _name(found.device), "…", "…", whose)
    return f"{unknown}  # fill in: nvidia-smi --query-gpu=name,memory.total,compute_cap --format=csv"


def _item(pci: str, model: str, memory: str, capability: str, whose: str) -> str:
    name = model if re.fullmatch(r"[A-Za-z][\w ./-]*", model) else json.dumps(model)
    return f'  - {{pci: "{pci}", model: {name}, memory: {memory}, capability: "{capability}"{whose}}}'


def _model(device: str) -> GpuModel | None:
    return MODELS.get(int(device, 16))


def _name(device: str) -> str:
    model = _model(device)
    return model.name if model else f"a card with the device id {device}"
