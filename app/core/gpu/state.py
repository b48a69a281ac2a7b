"""What is known of the host's cards: the file that farrier-gpus.service writes each second. Nobody here asks NVML."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

STATE = "state.json"
STALE = 5.0  # seconds after which the last word counts for nothing: the driver does not answer
SEE = "systemctl status farrier-gpus.service"  # what tells more


class NoAnswer(Exception):
    """Nothing is known of the cards just now; the message says why, and what to do."""


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True)


class Driver(_Told):
    """Versions of the module and of the libraries; `problem`: why they do not work together, and what to do."""

    loaded: str | None = None
    libraries: str | None = None
    problem: str | None = None


class Memory(_Told):
    """Bytes of a card."""

    total: int
    used: int
    free: int


class Process(_Told):
    """Who uses a card. `stack`: whose unit it is, None where it is none of ours; `memory`: bytes, None if unknown.

    Of one that ended while it was looked up nothing is known but its number.
    """

    pid: int
    name: str | None = None
    user: str | None = None
    unit: str | None = None
    stack: str | None = None
    memory: int | None = None


class Card(_Told):
    """One card. `xid`: the driver's last error about it; `problem`: why it cannot be used, and what to do."""

    index: int
    pci: str
    model: str | None = None
    memory: Memory | None = None
    xid: int | None = None
    problem: str | None = None
    processes: tuple[Process, ...] = ()


class State(_Told):
    """All cards at one moment; `at`: seconds on CLOCK_BOOTTIME."""

    at: float
    driver: Driver = Driver()
    cards: tuple[Card, ...] = ()

    @property
    def by_index(self) -> Mapping[int, Card]:
        """The cards by their number in `farrier_gpus`."""
        return {card.index: card for card in self.cards}


def since_boot() -> float:
    """The clock that `at` counts on."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def read_state(folder: Path) -> State:
    """The last word about all cards; raises NoAnswer where there is none that is fresh, or the driver does not work."""
    file = folder / STATE
    try:
        state = State.model_validate_json(file.read_bytes())
    except OSError as error:
        raise NoAnswer(f"{file} cannot be read ({error.strerror}); see `{SEE}`") from error
    except ValidationError as error:
        raise NoAnswer(f"{file} cannot be understood ({error.error_count()} errors); see `{SEE}`") from error
    age = since_boot() - state.at
    if not 0 <= age <= STALE:
        raise NoAnswer(f"the driver does not answer: the last word is {age:.0f} s old; see `{SEE}`")
    if state.driver.problem:
        raise NoAnswer(state.driver.problem)
    return state
