"""The one reader of the driver: each second it writes what it saw to state.json, and problems to its journal."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from farrier_host.gpu import prometheus
from farrier_host.gpu.asking import Driver
from farrier_host.gpu.driver import loaded_version, on_bus, shown_cards
from farrier_host.gpu.kernel import KernelLog, Xids
from farrier_host.gpu.places import Places, declared_cards, read_json, replace
from farrier_host.gpu.state import Seen, problems, state_of

EVERY = 1.0  # seconds
_TEXTFILE_EVERY = 5.0  # seconds; Prometheus asks less often


def watch(places: Places) -> None:
    """Look, as long as the inventory gives this host a card; then what was told of them is taken away."""
    watcher = Watcher(places)
    while declared_cards(places):
        started = time.monotonic()
        watcher.look()
        time.sleep(max(0.0, EVERY - (time.monotonic() - started)))
    print("the inventory gives this host no GPU any more (farrier_gpus)", flush=True)
    for path in (places.state, places.textfiles / prometheus.NAME):
        path.unlink(missing_ok=True)


class Watcher:
    """What is kept from one look to the next."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._driver = Driver(places)
        self._log = KernelLog(places.kernel_log)
        self._xids = Xids()
        self._told: list[str] = []
        self._exported = float("-inf")

    def look(self) -> None:
        """Look once, for at most a second, and write what was seen."""
        self._driver.look(EVERY)
        for record in self._log.records():
            self._xids.take(record)
        state = state_of(self._seen())
        replace(self._places.state, json.dumps(state) + "\n")
        found = problems(state)
        self._export(state, is_new=found != self._told)
        self._tell(found)

    def _seen(self) -> Seen:
        declared = declared_cards(self._places)
        silent, reading = self._driver.silent, self._driver.reading
        # Numbers are as old as their question; that there are none is known just now.
        is_new = silent is not None or reading is None
        return Seen(
            at=time.clock_gettime(time.CLOCK_BOOTTIME) if is_new else self._driver.at,
            declared=declared,
            loaded=loaded_version(self._places),
            shown=shown_cards(self._places),
            reading=reading,
            silent=None if silent is None else round(time.monotonic() - silent, 1),
            xids=self._xids,
            forgotten=read_json(self._places.forgotten),
            units=_units(self._places),
            on_bus=frozenset(card["pci"] for card in declared if on_bus(self._places, card["pci"])),
        )

    def _export(self, state: dict[str, Any], *, is_new: bool) -> None:
        """For the node exporter, where the host has one."""
        now = time.monotonic()
        if not (is_new or now - self._exported >= _TEXTFILE_EVERY) or not self._places.textfiles.is_dir():
            return
        self._exported = now
        try:
            replace(self._places.textfiles / prometheus.NAME, prometheus.text_of(state, time.time()))
        except OSError as error:  # a full disk must not keep workers from knowing their cards
            print(f"{self._places.textfiles / prometheus.NAME}: {error.strerror}", flush=True)

    def _tell(self, found: list[str]) -> None:
        """Say in the journal what is new, and what is over."""
        for problem in found:
            if problem not in self._told:
                print(problem, flush=True)
        if self._told and not found:
            print("all is well again", flush=True)
        self._told = found


def _units(places: Places) -> dict[str, list[str]]:
    """Which units hold which card, by PCI address: those whose start check wrote it down, and that still exist."""
    found: dict[str, list[str]] = {}
    for path in sorted(places.run.glob("*.env")):
        unit = path.name.removesuffix(".env")
        for pci in _cards_of(path) if (places.units / unit).exists() else ():
            found.setdefault(pci, []).append(unit)
    return found


def _cards_of(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line.partition("=")[2].split(",") for line in lines if line.startswith("FARRIER_GPU_PCI=")), [])
