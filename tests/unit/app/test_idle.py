"""When a worker sleeps, who is woken, and what is told meanwhile."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from app.core.bell import Bells, OwnBell, read_bells
from app.core.broker import ringing
from app.core.idle import Idle, Sleeper
from app.core.ledger import Clock, Database, Election, Jobs, NewJob, Workers
from app.core.ledger.sleep import Sleep
from app.core.reaper import STARTS, Reaper
from app.core.storage import Storage, new_job_id
from app.knee.answers import status
from tests.unit.app.conftest import FakeTime

AFTER = 600.0


class World:
    """What a worker sees: its bell, its ledger. `order` is the order in which it looked."""

    def __init__(self) -> None:
        self.rung = self.work = False
        self.order: list[str] = []
        self.idle = Idle(AFTER, self._empty, self._look)

    def _empty(self) -> bool:
        self.order.append("bell")
        rung, self.rung = self.rung, False
        return rung

    def _look(self) -> bool:
        self.order.append("ledger")
        return self.work

    def at(self, now: float, *, able: bool = True) -> bool:
        """Whether it is time, at this moment."""
        return self.idle.is_over(able=able, now=now)


@pytest.fixture
def world() -> World:
    world = World()
    assert not world.at(0)
    return world


def test_it_sleeps_after_the_time_without_work_and_not_before(world: World) -> None:
    assert not world.at(AFTER - 1)
    assert world.at(AFTER)


def test_the_bell_is_emptied_before_the_ledger_is_looked_into(world: World) -> None:
    world.order.clear()
    world.at(1)
    assert world.order == ["bell", "ledger"]


@pytest.mark.parametrize("what", ["ring", "work", "not able"])
def test_whatever_happens_begins_the_time_anew(world: World, what: str) -> None:
    world.rung, world.work = what == "ring", what == "work"
    assert not world.at(AFTER, able=what != "not able")
    world.work = False
    assert not world.at(2 * AFTER - 1)
    assert world.at(2 * AFTER)


def test_a_worker_that_starts_late_has_all_its_time() -> None:
    world = World()
    assert not world.at(10 * AFTER)
    assert not world.at(11 * AFTER - 1)


def test_who_cannot_look_stays_awake_and_looks_again() -> None:
    looked, slept = threading.Event(), threading.Event()

    def has_work() -> bool:
        if not looked.is_set():
            looked.set()
            raise OSError("the ledger is locked")
        return False

    sleeper = Sleeper(Idle(0.0, lambda: False, has_work, 0.0), lambda: True, slept.set)
    sleeper.start()
    assert slept.wait(10)
    assert looked.is_set()


# ---- bells ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def bells(tmp_path: Path) -> Iterator[list[socket.socket]]:
    """Three bells as systemd holds them, `0` to `2`."""
    held = []
    for index in range(3):
        bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        bell.bind(str(tmp_path / str(index)))
        held.append(bell)
    yield held
    for bell in held:
        bell.close()


@pytest.fixture
def rung(bells: list[socket.socket], tmp_path: Path) -> Bells:
    return Bells({"knee": tuple(tmp_path / str(index) for index in range(len(bells)))})


def heard(bells: list[socket.socket]) -> list[int]:
    """How often each was rung since the last question."""
    counts = []
    for bell in bells:
        bell.setblocking(False)
        count = 0
        with suppress(BlockingIOError):
            while bell.recv(1):
                count += 1
        counts.append(count)
    return counts


def test_as_many_are_rung_for_as_there_is_work_for(bells: list[socket.socket], rung: Bells) -> None:
    assert rung.ring("knee", 2) == 2
    assert heard(bells) == [1, 1, 0]
    assert rung.ring("other", 2) == 0


def test_a_bell_that_nobody_holds_is_passed_over(bells: list[socket.socket], rung: Bells) -> None:
    bells[0].close()
    rung.queues["knee"][1].unlink()
    assert rung.ring("knee", 1) == 1
    assert heard(bells[2:]) == [1]


def test_a_full_bell_is_rung_enough(bells: list[socket.socket], rung: Bells) -> None:
    for _ in range(1000):
        assert rung.ring("knee", 1) == 1
    assert heard(bells)[0] < 1000


def test_to_ask_who_hears_rings_for_nobody(bells: list[socket.socket], rung: Bells) -> None:
    assert rung.hears("knee")
    assert not rung.hears("other")
    assert heard(bells) == [0, 0, 0]
    for bell in bells:
        bell.close()
    assert not rung.hears("knee")


def test_a_message_is_sent_and_then_rung_for(bells: list[socket.socket], rung: Bells) -> None:
    sent: list[list[int]] = []

    def send(job_id: str, queue: str) -> bool:
        del job_id, queue
        sent.append(heard(bells))
        return True

    assert ringing(send, rung, lambda _queue, most: most - 1)("job", "knee")
    assert (sent, heard(bells)) == ([[0, 0, 0]], [1, 1, 0])


def test_where_no_message_could_be_sent_nobody_is_woken_for_it(bells: list[socket.socket], rung: Bells) -> None:
    def fail(job_id: str, queue: str) -> bool:
        del job_id, queue
        return False

    assert not ringing(fail, rung, lambda _queue, most: most)("job", "knee")
    assert heard(bells) == [0, 0, 0]


def test_own_bell_is_the_one_that_systemd_passed_to_this_process() -> None:
    passed = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    assert OwnBell.passed({}) is None
    assert OwnBell.passed(passed | {"LISTEN_PID": "1"}) is None


def test_own_bell_is_emptied_whole() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    bell = OwnBell(ours)
    assert not bell.empty()
    for _ in range(3):
        theirs.send(b"1")
    assert bell.empty()
    assert not bell.empty()
    theirs.close()


def test_a_worker_that_leaves_jobs_behind_rings_for_itself(bells: list[socket.socket]) -> None:
    OwnBell(bells[1]).ring()
    assert heard(bells) == [0, 1, 0]


def test_bells_are_read_by_queue() -> None:
    assert read_bells("a=/1:b=/1:a=/2") == {"a": (Path("/1"), Path("/2")), "b": (Path("/1"),)}
    assert read_bells("") == {}
    with pytest.raises(ValueError, match="write queue=/path"):
        read_bells("/run/bell")


# ---- the ledger -----------------------------------------------------------------------------------------------------


@pytest.fixture
def sleep(database: Database, clock: Clock) -> Sleep:
    return Sleep(database, clock)


def queued(jobs: Jobs, queue: str = "knee", *, sent: bool = True) -> str:
    return jobs.submit(NewJob(new_job_id(), queue, "knee", "scan.nii", {}), sent=sent).id


def test_work_is_what_waits_and_demand_also_what_runs(jobs: Jobs, sleep: Sleep) -> None:
    assert (jobs.has_queued(["knee"]), sleep.demand("knee", 9)) == (False, 0)
    queued(jobs)
    queued(jobs, "other")
    assert jobs.claim_next(["knee"], "worker@0 1", 30)
    assert (jobs.has_queued(["knee"]), jobs.has_queued(["knee", "other"])) == (False, True)
    assert sleep.demand("knee", 9) == 1
    queued(jobs)
    queued(jobs)
    assert (jobs.has_queued(["knee"]), sleep.demand("knee", 9), sleep.demand("knee", 2)) == (True, 3, 2)


def test_a_worker_that_sleeps_is_not_alive_and_takes_nothing_until_it_beats_again(
    workers: Workers, sleep: Sleep
) -> None:
    workers.beat("worker@0", ["knee"], 12)
    sleep.leave("worker@0")
    assert workers.live_queues() == set()
    assert workers.is_draining("worker@0")
    workers.beat("worker@0", ["knee"], 12)
    assert (workers.live_queues(), workers.is_draining("worker@0")) == ({"knee"}, False)


def test_the_time_of_the_last_start_is_kept(sleep: Sleep) -> None:
    assert sleep.start_lasts("knee") is None
    sleep.note_start(["knee"], 2.34)
    sleep.note_start(["knee", "other"], 5.67)
    assert (sleep.start_lasts("knee"), sleep.start_lasts("other")) == (5.7, 5.7)


@pytest.fixture
def reaper(jobs: Jobs, database: Database, clock: Clock, tmp_path: Path, rung: Bells) -> Reaper:
    workers, election = Workers(database, clock), Election(database, clock, "reaper")
    storage = Storage(tmp_path / "state")
    return Reaper(jobs, workers, election, storage, lambda *_: True, "me", lambda _: False, 3600, rung)


def test_a_lost_ring_costs_a_start_and_then_all_are_rung_for(
    reaper: Reaper, time: FakeTime, bells: list[socket.socket]
) -> None:
    queued(reaper.jobs)
    time.seconds += STARTS - 1
    reaper.round()
    assert heard(bells) == [0, 0, 0]
    time.seconds += 2
    reaper.round()
    assert heard(bells) == [1, 1, 1]


def test_who_waits_for_a_worker_that_starts_is_told(jobs: Jobs) -> None:
    job = jobs.find(queued(jobs))
    assert job is not None
    assert "message" not in status(jobs, job)
    assert status(jobs, job, lambda queue: f"waiting for {queue}")["message"] == "waiting for knee"
