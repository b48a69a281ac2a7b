"""The state as a text file for Prometheus' node exporter. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

NAME = "farrier_gpus.prom"
Sample = tuple[str, dict[str, str], float]
_HELP = {
    "farrier_gpu_driver_up": "Whether the NVIDIA driver answers and its versions match.",
    "farrier_gpu_driver_mismatch": "Whether the loaded module and the libraries are of different versions.",
    "farrier_gpu_driver_info": "Versions of the loaded kernel module and of the libraries.",
    "farrier_gpu_seen_timestamp_seconds": "When this was written: long ago means that farrier-gpus.service is down.",
    "farrier_gpu_up": "Whether the card is there and well.",
    "farrier_gpu_memory_bytes": "Memory of the card.",
    "farrier_gpu_utilization_ratio": "Part of the last moments in which the card computed.",
    "farrier_gpu_process_memory_bytes": "Memory of the card held by a unit's processes, or by nobody's.",
    "farrier_gpu_xid_errors_total": "Xid errors in the kernel log since boot, by code.",
}


def text_of(state: Mapping[str, Any], now: float) -> str:
    """The whole file; `now` is the time of day in seconds."""
    by_name: dict[str, list[str]] = {name: [] for name in _HELP}
    for name, labels, value in _samples(state, now):
        by_name[name].append(f"{name}{_labels(labels)} {value:.15g}\n")
    lines = []
    for name, samples in by_name.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += [f"# HELP {name} {_HELP[name]}\n# TYPE {name} {kind}\n", *samples] if samples else []
    return "".join(lines)


def _samples(state: Mapping[str, Any], now: float) -> Iterator[Sample]:
    driver = state["driver"]
    yield "farrier_gpu_driver_up", {}, not driver["problem"]
    yield "farrier_gpu_driver_mismatch", {}, driver["mismatch"]
    versions = {name: driver[name] or "" for name in ("loaded", "libraries")}
    yield "farrier_gpu_driver_info", versions, 1
    yield "farrier_gpu_seen_timestamp_seconds", {}, now
    for card in state["cards"]:
        yield from _of_card(card)


def _of_card(card: Mapping[str, Any]) -> Iterator[Sample]:
    labels = {"gpu": str(card["index"]), "pci": card["pci"]}
    yield "farrier_gpu_up", labels | {"model": card["model"] or ""}, not card["problem"]
    for kind, size in (card["memory"] or {}).items():
        yield "farrier_gpu_memory_bytes", labels | {"kind": kind}, size
    if card["utilisation"] is not None:
        yield "farrier_gpu_utilization_ratio", labels, card["utilisation"] / 100
    held: dict[str, int] = {}
    for process in card["processes"]:
        unit = process["unit"] or ""
        held[unit] = held.get(unit, 0) + (process["memory"] or 0)
    for unit, size in sorted(held.items()):
        yield "farrier_gpu_process_memory_bytes", labels | {"unit": unit}, size
    for code, number in card["xids"].items():
        yield "farrier_gpu_xid_errors_total", labels | {"xid": code}, number


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
