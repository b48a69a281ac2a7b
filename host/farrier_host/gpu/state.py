"""What state.json says, out of what the watcher saw. Pure: each problem says what is wrong, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from farrier_host.gpu import nvml
from farrier_host.gpu.driver import Shown
from farrier_host.gpu.kernel import Xids

_DEPLOY = "deploy with `-t nvidia`"


@dataclass(frozen=True)
class Seen:
    """One look; `at` in seconds of CLOCK_BOOTTIME: nothing in it is older. `silent`: for how long the driver is so."""

    at: float
    declared: list[dict[str, Any]]
    loaded: str | None
    shown: Mapping[str, Shown]
    reading: Mapping[str, Any] | None
    silent: float | None = None
    xids: Xids = field(default_factory=Xids)
    forgotten: Mapping[str, int] = field(default_factory=dict)
    units: Mapping[str, list[str]] = field(default_factory=dict)
    on_bus: frozenset[str] = frozenset()


def state_of(seen: Seen) -> dict[str, Any]:
    """The whole state; sizes in bytes. A card whose driver has a problem has it too, and no numbers."""
    reading = seen.reading or {}
    problem = driver_problem(seen)
    answered = {} if problem else {card["pci"]: card for card in reading.get("cards", ()) if card.get("pci")}
    known = {card["pci"] for card in seen.declared}
    return {
        "at": seen.at,
        "driver": {
            "loaded": seen.loaded,
            "libraries": reading.get("libraries"),
            "mismatch": is_mismatched(seen),
            "silent": seen.silent,
            "problem": problem,
        },
        "cards": [_card(seen, declared, answered.get(declared["pci"]), problem) for declared in seen.declared],
        "others": [_other(card) for pci, card in sorted(answered.items()) if pci not in known],
    }


def is_mismatched(seen: Seen) -> bool:
    """Whether the libraries belong to another version than the loaded module."""
    return ((seen.reading or {}).get("error") or {}).get("code") == nvml.MISMATCH


def driver_problem(seen: Seen) -> str | None:
    """What is wrong with the driver as a whole."""
    if seen.silent is not None:
        return (
            "the NVIDIA driver does not answer: see `dmesg | grep -i nvrm`; if it does not come back by itself, "
            "reboot the host"
        )
    if is_mismatched(seen):
        libraries = (seen.reading or {}).get("libraries") or "others"
        return (
            f"Driver/library version mismatch: the loaded module is {seen.loaded}, the libraries are {libraries}: "
            "reboot the host, so that the module of that version is loaded"
        )
    if seen.loaded is None:
        return f"the NVIDIA kernel module is not loaded: `modprobe nvidia` says why; if it is not installed, {_DEPLOY}"
    if seen.reading is None:
        return "the NVIDIA driver has not been asked yet: wait some seconds"
    return _driver_error(seen.reading.get("error"))


def _driver_error(error: Mapping[str, Any] | None) -> str | None:
    if error is None:
        return None
    if error["code"] is None:
        return f"NVIDIA's library cannot be used: {error['text']}; {_DEPLOY}"
    return f"the NVIDIA driver answers with an error: {error['text']}; see `dmesg | grep -i nvrm`"


def _card(
    seen: Seen, declared: Mapping[str, Any], answer: Mapping[str, Any] | None, problem: str | None
) -> dict[str, Any]:
    pci = declared["pci"]
    shown, last = seen.shown.get(pci), seen.xids.last.get(pci)
    last = last if last and last.number > seen.forgotten.get(pci, -1) else None
    facts = answer if answer and not answer.get("error") else {}
    return {
        "index": declared["index"],
        "pci": pci,
        "uuid": facts.get("uuid") or (shown.uuid if shown else None) or None,
        "minor": shown.minor if shown else facts.get("minor"),
        "model": facts.get("model") or declared.get("model") or "",
        "capability": facts.get("capability") or declared.get("capability"),
        "owner": declared.get("owner"),
        "memory": facts.get("memory"),
        "utilisation": facts.get("utilisation"),
        "xid": last.code if last else None,
        "xid_text": last.text if last else None,
        "xid_at": last.at if last else None,
        "xid_number": last.number if last else None,
        "xids": {str(code): number for (of, code), number in sorted(seen.xids.counts.items()) if of == pci},
        "problem": problem or card_problem(seen, pci, answer),
        "units": seen.units.get(pci, []),
        "processes": facts.get("processes", []),
    }


def card_problem(seen: Seen, pci: str, answer: Mapping[str, Any] | None) -> str | None:
    """What is wrong with one card while the driver is well."""
    grave = seen.xids.grave.get(pci)
    if answer is None:
        return gone(pci, seen.shown, is_on_bus=pci in seen.on_bus)
    if answer.get("error"):
        return _failed(pci, answer)
    if grave and grave.number > seen.forgotten.get(pci, -1):
        return (
            f"{pci}: Xid {grave.code} ({grave.text}): the card must be reset: stop what uses it, then "
            f"`nvidia-smi --gpu-reset -i {pci}` and `farrier-gpus forget {pci}`; or reboot the host"
        )
    return None


def _failed(pci: str, answer: Mapping[str, Any]) -> str:
    error = answer["error"]
    if error["code"] == nvml.LOST:
        return f"{pci}: the card has fallen off the bus: power the host off and on; if that does not last, exchange it"
    if error["code"] == nvml.RESET_REQUIRED:
        return f"{pci}: the card must be reset: stop what uses it, then `nvidia-smi --gpu-reset -i {pci}`"
    return f"{pci}: the card answers with an error: {error['text']}; see `dmesg | grep -i nvrm`"


def gone(pci: str, shown: Mapping[str, Shown], *, is_on_bus: bool) -> str:
    """What to do about a declared card that the driver does not have."""
    if is_on_bus:
        return f"{pci}: the card is there, but the driver has not taken it: see `dmesg | grep -i nvrm`"
    listed = ", ".join(f"{card.pci} ({card.model})" for card in shown.values()) or "none"
    return (
        f"{pci}: no card is there; the driver's cards: {listed}. If the cards were moved, write their addresses into "
        f"farrier_gpus of this host and deploy; if not, power the host off and on, and look at the card"
    )


def _other(card: Mapping[str, Any]) -> dict[str, Any]:
    """A card that the inventory does not give us, for people to see."""
    names = ("pci", "uuid", "minor", "model", "capability", "memory", "processes")
    return {name: card.get(name) for name in names} | {"problem": (card.get("error") or {}).get("text")}


def problems(state: Mapping[str, Any]) -> list[str]:
    """Every problem once; the driver's first."""
    found: Iterable[str | None] = (state["driver"]["problem"], *(card["problem"] for card in state["cards"]))
    return list(dict.fromkeys(each for each in found if each))
