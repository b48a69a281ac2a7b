"""The Molecule scenarios: check, converge, idempotence and Testinfra on a fresh Debian 12 and 13, side by side."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

ROOT = Path(__file__).parents[2]
LOGS = ROOT / "build" / "molecule"
SCENARIOS = ("default", "trixie")
MINUTES = 30


class Scenario:
    """`molecule test` of one scenario in the background; its log goes to build/molecule/<name>.log."""

    def __init__(self, name: str) -> None:
        LOGS.mkdir(parents=True, exist_ok=True)
        self.name, self.log = name, LOGS / f"{name}.log"
        plain = {**os.environ, "NO_COLOR": "1", "PY_COLORS": "0", "ANSIBLE_FORCE_COLOR": "0"}
        self.process = subprocess.Popen(
            ["molecule", "test", "--scenario-name", name],
            cwd=ROOT,
            env=plain,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.steps: list[str] = []
        self.reader = threading.Thread(target=self._read, args=(self.process.stdout,))
        self.reader.start()

    def _read(self, output: IO[str]) -> None:
        with self.log.open("w") as log:
            for line in output:
                log.write(line)
                if "Executed: " in line:
                    self.steps.append(line.partition(" ")[2].strip())

    def ended(self, seconds: float) -> bool:
        """Whether it ends within that time."""
        self.reader.join(seconds)
        return not self.reader.is_alive()

    def kill(self) -> None:
        """End it if it still runs, and its host with it."""
        if self.process.poll() is None:
            self.process.kill()
            subprocess.run(["molecule", "destroy", "--scenario-name", self.name], cwd=ROOT, check=False)
        self.reader.join()


@pytest.fixture(scope="module")
def scenarios(prepared: None) -> Iterator[dict[str, Scenario]]:
    """All scenarios, started at once."""
    del prepared
    started = {name: Scenario(name) for name in SCENARIOS}
    yield started
    for scenario in started.values():
        scenario.kill()


@pytest.mark.timeout(60 * MINUTES)
@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(scenarios: dict[str, Scenario], name: str, capfd: pytest.CaptureFixture[str]) -> None:
    scenario, shown = scenarios[name], 0
    while not scenario.ended(seconds=0.5):
        with capfd.disabled():
            for step in scenario.steps[shown:]:
                print(f"\n  molecule {step}", end="", flush=True)
        shown = len(scenario.steps)
    tail = "".join(scenario.log.read_text().splitlines(keepends=True)[-120:])
    assert scenario.process.wait() == 0, f"molecule test -s {name} failed; all of it: {scenario.log}\n{tail}"
