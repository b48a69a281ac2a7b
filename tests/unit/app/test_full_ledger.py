"""The disk of the ledger is full, for real: it costs time, and no job and no attempt."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from app.core.ledger import Database, Election, Job, Jobs, NewJob, Workers, boot_clock, is_full, open_database
from app.core.pipelines import Pipeline
from app.core.process import is_gone, owner
from app.core.reaper import Reaper
from app.core.storage import Storage, new_job_id
from app.core.work import Workshop
from tests.unit.app.claimed import claim, found, submit
from tests.unit.app.disks import Disk, small_disk
from tests.unit.app.migrations import new_ledger
from tests.unit.app.running_site import slow_step, wait_for

LEASE = 3.0
BOOT = "boot"
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture
def database(disk: Disk) -> Iterator[Database]:
    opened = open_database(new_ledger(disk.folder / "ledger"))
    yield opened
    opened.close()


@pytest.fixture
def workshop(tmp_path: Path, database: Database) -> Workshop:
    pipeline = {
        "title": "Hold",
        "python": sys.executable,
        "code": slow_step(tmp_path),
        "steps": [{"name": "hold", "timeout": 60}],
    }
    pipelines = {"knee": Pipeline.model_validate(pipeline)}
    return Workshop(Jobs(database, boot_clock()), Storage(tmp_path / "state"), pipelines, LEASE)


@pytest.fixture
def reaper(workshop: Workshop, database: Database) -> Reaper:
    election, gone = Election(database, boot_clock(), "reaper"), partial(is_gone, boot=BOOT)
    workers = Workers(database, boot_clock())
    return Reaper(workshop.jobs, workers, election, workshop.storage, lambda _job, _queue: True, "me", gone, LEASE)


def claimed(workshop: Workshop, pipeline: str = "knee") -> Job:
    submit(workshop, pipeline=pipeline)
    return claim(workshop, owner("worker@0", BOOT))


def past_the_lease(workshop: Workshop, job: Job, reaper: Reaper) -> None:
    """Let the reaper do its rounds until the job's lease is over."""

    def is_over() -> bool:
        reaper.attempt()
        return (found(workshop, job).lease_until or 0) + LEASE / 2 < time.clock_gettime(time.CLOCK_BOOTTIME)

    wait_for(is_over, "the end of the lease")


@pytest.mark.parametrize("ends_meanwhile", [True, False])
def test_a_full_disk_for_longer_than_the_lease_costs_a_job_no_attempt(
    workshop: Workshop, reaper: Reaper, disk: Disk, tmp_path: Path, *, ends_meanwhile: bool
) -> None:
    job = claimed(workshop)
    thread = threading.Thread(target=workshop.work, args=[job])
    thread.start()
    wait_for((tmp_path / "starts").exists, "the step")
    disk.fill()
    if ends_meanwhile:
        (tmp_path / "go").touch()
    past_the_lease(workshop, job, reaper)
    disk.empty()
    reaper.attempt()
    (tmp_path / "go").touch()
    thread.join()
    reaper.attempt()
    done = found(workshop, job)
    assert (done.state, done.attempt) == ("done", 1)
    assert (tmp_path / "starts").read_text().count("\n") == 1


def test_a_failure_is_noted_as_soon_as_there_is_room(workshop: Workshop, reaper: Reaper, disk: Disk) -> None:
    job = claimed(workshop, "a pipeline that the site does not have")
    disk.fill()
    thread = threading.Thread(target=workshop.work, args=[job])
    thread.start()
    past_the_lease(workshop, job, reaper)
    disk.empty()
    thread.join()
    ended = found(workshop, job)
    assert (ended.state, ended.attempt, ended.error_code) == ("failed", 1, "CONFIG_ERROR")


def test_a_lease_that_is_over_ends_as_soon_as_its_owner_could_have_renewed_it(
    workshop: Workshop, reaper: Reaper, disk: Disk
) -> None:
    job = claimed(workshop)  # and its worker hangs: nobody renews
    disk.fill()
    past_the_lease(workshop, job, reaper)
    disk.empty()
    reaper.attempt()
    assert found(workshop, job).state == "running"

    def is_taken_back() -> bool:
        reaper.attempt()
        return found(workshop, job).state == "queued"

    wait_for(is_taken_back, "the job queued again")


def test_a_full_disk_is_told_from_other_trouble(database: Database, disk: Disk) -> None:
    jobs = Jobs(database, boot_clock())
    disk.fill()
    with pytest.raises(Exception, match="full") as full:
        jobs.submit(NewJob(new_job_id(), "knee", "knee", "scan.nii", {}))
    assert is_full(full.value)
    with pytest.raises(Exception, match="no such table") as other, database.read() as connection:
        connection.exec_driver_sql("SELECT * FROM missing")
    assert not is_full(other.value)
