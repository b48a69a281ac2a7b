"""The watcher over a library that does to it what a driver may do."""

from __future__ import annotations

import getpass
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from farrier_host.gpu.asking import LIMIT, Driver
from farrier_host.gpu.places import Places
from farrier_host.gpu.state import problems
from farrier_host.gpu.watch import EVERY
from tests.gpu.world import A10, GIB, LOST, SECOND_T4, T4, World, environment, put

COMMAND = (sys.executable, "-c", "import sys; from farrier_host.gpu.cli import main; sys.exit(main())")
WELL = World((T4, A10))


@dataclass(frozen=True)
class Watched:
    """A watcher, and the folder that says what it sees."""

    folder: Path
    variables: dict[str, str]
    pid: int

    def show(self, world: World) -> None:
        put(self.folder, world)

    def state(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.folder / "run" / "state.json").read_text())
        except FileNotFoundError:
            return {"at": 0, "driver": {"problem": "nothing yet"}, "cards": []}
        return found

    def until(self, is_so: Callable[[dict[str, Any]], object], within: float = 30) -> dict[str, Any]:
        """The first state of which this holds."""
        limit = time.monotonic() + within
        while time.monotonic() < limit:
            state = self.state()
            if is_so(state):
                return state
            time.sleep(0.05)
        raise AssertionError(f"not within {within} s: {self.state()}")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*COMMAND, *arguments], env=self.variables, capture_output=True, text=True, check=False)

    def children(self) -> list[str]:
        return Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()


@contextmanager
def watcher(folder: Path) -> Iterator[Watched]:
    """A watcher of the cards that the folder shows."""
    places = {"RUN": "run", "TEXTFILES": "text", "SYSFS": "sys", "DECLARED": "gpus.json"}
    variables = environment(folder) | {f"FARRIER_GPU_{name}": str(folder / path) for name, path in places.items()}
    for name in ("run", "text"):
        (folder / name).mkdir()
    (folder / "gpus.json").write_text(json.dumps([{"index": 0, "pci": T4.pci}, {"index": 1, "pci": A10.pci}]))
    put(folder, WELL)
    with subprocess.Popen([*COMMAND, "watch"], env=variables, start_new_session=True) as process:
        yield Watched(folder, variables, process.pid)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with a child that may hang


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watcher(tmp_path_factory.mktemp("cards")) as watched:
        yield watched


@pytest.fixture
def watched(running: Watched) -> Watched:
    """All is well at first."""
    running.show(WELL)
    running.until(lambda state: not problems(state))
    return running


def test_a_foreign_process_is_told_with_its_user_and_memory(watched: Watched) -> None:
    with subprocess.Popen(["sleep", "60"]) as foreign:
        watched.show(WELL.with_process(T4.pci, foreign.pid, 11 * GIB))
        state = watched.until(lambda state: state["cards"][0]["processes"])
        table = watched.run()
        foreign.kill()
    (process,) = state["cards"][0]["processes"]
    assert process["pid"] == foreign.pid
    assert process["name"] == "sleep"
    assert process["user"] == getpass.getuser()
    assert process["stack"] is None
    assert state["cards"][0]["memory"] == {"total": 16 * GIB, "used": 11 * GIB, "free": 5 * GIB}
    assert table.returncode == 0
    assert f"sleep ({foreign.pid})" in table.stdout


def test_more_processes_than_there_was_room_for_are_all_told(watched: Watched) -> None:
    world = WELL
    for number in range(100):
        world = world.with_process(A10.pci, 10_000_000 + number, 1)
    watched.show(world)
    found = watched.until(lambda state: state["cards"][1]["processes"])["cards"][1]["processes"]
    assert len(found) == 100
    assert {(each["name"], each["user"]) for each in found} == {("", None)}  # they have ended meanwhile


def test_mismatch_is_told_with_both_versions_and_is_over_when_it_is(watched: Watched) -> None:
    watched.show(WELL.mismatched("535.261.03"))
    state = watched.until(lambda state: state["driver"]["mismatch"])
    assert state["driver"]["loaded"] == "535.309.01"
    assert state["driver"]["libraries"] == "535.261.03"
    assert "reboot" in state["driver"]["problem"]
    assert all(card["problem"] and card["memory"] is None for card in state["cards"])
    exported = watched.folder / "text" / "farrier_gpus.prom"
    watched.until(lambda _: "farrier_gpu_driver_mismatch 1" in exported.read_text())
    told = watched.run()
    assert told.returncode == 1
    assert told.stdout.count("Driver/library version mismatch") == 1  # once, not for each card
    watched.show(WELL)
    watched.until(lambda state: not problems(state))


def test_a_lost_card_leaves_the_other_one_as_it_is(watched: Watched) -> None:
    watched.show(WELL.with_card(T4.pci, code=LOST))
    state = watched.until(lambda state: state["cards"][0]["problem"])
    assert "fallen off the bus" in state["cards"][0]["problem"]
    assert state["cards"][1]["problem"] is None
    assert state["cards"][1]["memory"]["total"] == A10.total


def test_a_card_that_was_moved_is_told_with_those_that_are_there(watched: Watched) -> None:
    watched.show(World((replace(T4, pci=SECOND_T4.pci), A10)))
    state = watched.until(lambda state: state["cards"][0]["problem"])
    assert SECOND_T4.pci in state["cards"][0]["problem"]
    assert [card["pci"] for card in state["others"]] == [SECOND_T4.pci]


def test_a_hanging_driver_is_told_within_five_seconds_and_piles_up_nothing(watched: Watched) -> None:
    assert LIMIT + EVERY < 5, "what it takes on a machine that is not busy; tests/bench/gpus.py measures it"
    written: set[int] = set()
    children: set[int] = set()

    def is_told(state: dict[str, Any]) -> bool:
        written.add((watched.folder / "run" / "state.json").stat().st_mtime_ns)
        children.add(len(watched.children()))
        return bool(state["driver"]["problem"])

    watched.show(replace(WELL, hang=True))
    assert "does not answer" in watched.until(is_told)["driver"]["problem"]
    assert max(children) == 1
    assert len(written) > 2, "the watcher itself goes on"
    watched.show(WELL)
    watched.until(lambda state: not problems(state))


def test_a_grave_xid_condemns_its_card_until_it_is_dealt_with(watched: Watched) -> None:
    world = WELL.with_xid(T4.pci, 95, "pid=7, name=python, Uncontained error")
    watched.show(world)
    state = watched.until(lambda state: state["cards"][0]["problem"])
    assert state["cards"][0]["xid"] == 95
    assert state["cards"][1]["xid"] is None
    assert watched.run().returncode == 1
    assert watched.run("forget", T4.pci).returncode == 0
    watched.until(lambda state: not problems(state))
    watched.show(world.with_xid(T4.pci, 79))
    assert "Xid 79" in watched.until(lambda state: state["cards"][0]["problem"])["cards"][0]["problem"]
    assert watched.run("forget", T4.pci).returncode == 0


def test_a_text_file_that_cannot_be_written_keeps_nobody_from_watching(watched: Watched) -> None:
    exported = watched.folder / "text" / "farrier_gpus.prom"
    os.kill(watched.pid, signal.SIGSTOP)  # or it could write the file anew in between
    exported.unlink()
    exported.mkdir()  # what is to be replaced cannot be
    os.kill(watched.pid, signal.SIGCONT)
    watched.show(WELL.mismatched())
    watched.until(lambda state: state["driver"]["mismatch"])
    watched.show(WELL)
    watched.until(lambda state: not problems(state))
    exported.rmdir()


def test_cards_that_the_inventory_takes_back_are_watched_no_more(tmp_path: Path) -> None:
    with watcher(tmp_path) as watched:
        exported, state = tmp_path / "text" / "farrier_gpus.prom", tmp_path / "run" / "state.json"
        watched.until(lambda _: exported.exists() and state.exists())
        (tmp_path / "gpus.json").write_text("[]")
        assert os.waitpid(watched.pid, 0)[1] == 0
        assert not exported.exists()
        assert not state.exists()
        told = watched.run()
        assert (told.returncode, told.stdout) == (0, "the inventory gives this host no GPU (farrier_gpus)\n")


def test_a_machine_without_the_library_is_told_so() -> None:
    driver = Driver(Places())
    driver.look(3)
    assert driver.reading is not None
    assert driver.reading["error"]["code"] is None
    assert "libnvidia-ml.so.1" in driver.reading["error"]["text"]
