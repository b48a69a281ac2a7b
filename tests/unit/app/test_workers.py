from __future__ import annotations

import os
import subprocess
import sys

import pytest

from app.core.ledger import Clock, Database, Election, Workers
from app.core.process import is_gone, owner
from tests.unit.app.conftest import FakeTime


@pytest.fixture(params=["file", "server"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_queue_is_live_as_long_as_a_worker_beats_on_it(workers: Workers, time: FakeTime) -> None:
    workers.beat("worker@0", ["knee", "slow"], 12)
    workers.beat("worker@1", ["knee"], 30)
    assert workers.live_queues() == {"knee", "slow"}
    time.seconds += 13
    assert workers.live_queues() == {"knee"}
    time.seconds += 18
    assert workers.live_queues() == set()


def test_worker_of_an_earlier_boot_is_not_alive(database: Database, workers: Workers, time: FakeTime) -> None:
    workers.beat("worker@0", ["knee"], 12)
    assert Workers(database, Clock("boot-b", time, time)).live_queues() == set()


def test_queue_that_a_worker_left_is_forgotten(workers: Workers) -> None:
    workers.beat("worker@0", ["knee", "slow"], 12)
    workers.beat("worker@0", ["knee"], 12)
    assert workers.live_queues() == {"knee"}


def test_draining_is_noted_and_ends_with_the_next_start(workers: Workers) -> None:
    assert not workers.is_draining("worker@0")
    workers.beat("worker@0", ["knee"], 12, draining=True)
    assert workers.is_draining("worker@0")
    workers.beat("worker@0", ["knee"], 12)
    assert not workers.is_draining("worker@0")


def test_one_holds_the_lease_until_it_is_over(database: Database, clock: Clock, time: FakeTime) -> None:
    election = Election(database, clock, "reaper")
    assert [election.hold(name, 5) for name in ("a", "b", "a")] == [True, False, True]
    time.seconds += 6
    assert [election.hold(name, 5) for name in ("b", "a")] == [True, False]
    assert Election(database, Clock("boot-b", time, time), "reaper").hold("c", 5)


def test_owner_is_gone_once_its_process_has_ended() -> None:
    assert not is_gone(owner("worker@0", "boot"), "boot")
    script = "from app.core.process import owner; print(owner('worker@0', 'boot'), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        other = process.stdout.readline().strip()
        assert not is_gone(other, "boot")
        process.kill()
    assert is_gone(other, "boot")


def test_other_process_with_the_same_number_is_not_the_owner() -> None:
    name, pid, started, namespace = owner("worker@0", "boot").split(" ")
    assert pid == str(os.getpid())
    assert is_gone(f"{name} {pid} {int(started) - 1} {namespace}", "boot")


def test_process_of_another_namespace_or_host_is_never_taken_for_gone() -> None:
    name, _, _, namespace = owner("worker@0", "boot").split(" ")
    gone = f"{name} 4194303 1 {namespace}"
    assert is_gone(gone, "boot")
    assert not is_gone(gone, "another")
    assert not is_gone("worker@0 4194303 1 1", "boot")
    assert not is_gone("someone else", "boot")
