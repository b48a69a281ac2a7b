"""What the reaper clears away after attempts that did not end by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core.ledger import Clock, Database, Election, Job, Jobs, NewJob
from app.core.reaper import Reaper
from app.core.storage import Storage, new_job_id
from tests.unit.app.conftest import FakeTime


@pytest.fixture
def reaper(jobs: Jobs, database: Database, clock: Clock, tmp_path: Path) -> Reaper:
    storage = Storage(tmp_path / "state")
    return Reaper(
        jobs, Election(database, clock, "reaper"), storage, lambda _job, _queue: True, "me", lambda _: False, 30
    )


def begun(reaper: Reaper) -> Job:
    """A job whose worker has made a work folder and a result, and noted nothing of it yet."""
    job_id = new_job_id()
    reaper.storage.begin_upload(job_id).write_bytes(b"scan")
    reaper.storage.accept_upload(job_id, ".nii")
    reaper.jobs.submit(NewJob(job_id, "knee", "knee", "scan.nii", {}))
    return again(reaper)


def again(reaper: Reaper) -> Job:
    job = reaper.jobs.claim_next(["knee"], "a worker", 30)
    assert job is not None
    reaper.storage.pack_result(job.id, job.attempt, reaper.storage.begin_work(job.id, job.attempt))
    return job


def test_nothing_is_left_of_an_attempt_whose_worker_died(reaper: Reaper, time: FakeTime) -> None:
    job = begun(reaper)
    reaper.round()
    assert reaper.storage.work_folders() == [(job.id, 1)]
    time.seconds += 31
    reaper.round(elected=False)
    assert reaper.storage.work_folders() == []
    assert not reaper.storage.result(job.id, 1).exists()


def test_nothing_is_left_of_a_job_that_is_given_up(reaper: Reaper, time: FakeTime) -> None:
    job = begun(reaper)
    for _ in range(2):
        time.seconds += 31
        reaper.round()
        again(reaper)
    time.seconds += 31
    reaper.round()
    given_up = reaper.jobs.find(job.id)
    assert given_up is not None
    assert (given_up.state, given_up.attempt) == ("failed", 3)
    assert "died 3 times" in (given_up.error_message or "")
    assert reaper.storage.work_folders() == []
    assert not reaper.storage.result(job.id, 3).exists()


def test_a_work_folder_whose_worker_died_after_its_job_had_ended_is_deleted(reaper: Reaper) -> None:
    job = begun(reaper)
    assert reaper.jobs.publish(job, size=1, summary={})
    reaper.round()
    assert reaper.storage.work_folders() == []
    assert reaper.storage.result(job.id, 1).exists()
