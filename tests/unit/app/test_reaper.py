"""What the reaper clears away after attempts that did not end by themselves, and whom it wakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core.ledger import Clock, Database, Election, Job, Jobs, NewJob, Workers
from app.core.reaper import MESSAGES, OVERDUE, SOON, Reaper
from app.core.storage import Storage, new_job_id
from tests.unit.app.conftest import FakeTime

LEASE = 30.0


@pytest.fixture
def sent() -> list[str]:
    """The jobs that a message was sent of."""
    return []


@pytest.fixture
def reaper(jobs: Jobs, database: Database, clock: Clock, tmp_path: Path, sent: list[str]) -> Reaper:
    def send(job_id: str, queue: str) -> bool:
        del queue
        sent.append(job_id)
        return True

    workers, election = Workers(database, clock), Election(database, clock, "reaper")
    return Reaper(jobs, workers, election, Storage(tmp_path / "state"), send, "me", lambda _: False, 3600)


def begun(reaper: Reaper) -> Job:
    """A job whose worker has made a work folder and a result, and noted nothing of it yet."""
    job_id = new_job_id()
    reaper.storage.begin_upload(job_id).write_bytes(b"scan")
    reaper.storage.accept_upload(job_id, ".nii")
    reaper.jobs.submit(NewJob(job_id, "knee", "knee", "scan.nii", {}))
    return again(reaper)


def again(reaper: Reaper) -> Job:
    job = reaper.jobs.claim_next(["knee"], "worker@0 1 2 3", LEASE)
    assert job is not None
    reaper.storage.pack_result(job.id, job.attempt, reaper.storage.begin_work(job.id, job.attempt))
    return job


def test_nothing_is_left_of_an_attempt_whose_worker_died(reaper: Reaper, time: FakeTime) -> None:
    job = begun(reaper)
    reaper.round()
    assert reaper.storage.work_folders() == [(job.id, 1)]
    time.seconds += LEASE + 1
    reaper.round(elected=False)
    assert reaper.storage.work_folders() == []
    assert not reaper.storage.result(job.id, 1).exists()


def test_nothing_is_left_of_a_job_that_is_given_up(reaper: Reaper, time: FakeTime) -> None:
    job = begun(reaper)
    for _ in range(2):
        time.seconds += LEASE + 1
        reaper.round()
        again(reaper)
    time.seconds += LEASE + 1
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


def test_a_lost_message_is_sent_again_soon_where_a_worker_is_idle(
    reaper: Reaper, jobs: Jobs, time: FakeTime, sent: list[str]
) -> None:
    begun(reaper)  # worker@0 holds it
    waiting = jobs.submit(NewJob(new_job_id(), "knee", "knee", "scan.nii", {}))
    jobs.mark_sent(waiting.id)
    reaper.workers.beat("worker@0", ["knee"], 1000)
    time.seconds += SOON + 1
    reaper.round()
    assert sent == []  # it looks for the next job by itself
    reaper.workers.beat("worker@1", ["knee"], 1000, draining=True)
    reaper.workers.beat("worker@2", ["other"], 1000)
    reaper.round()
    assert sent == []
    reaper.workers.beat("worker@3", ["knee"], 1000)
    reaper.round()
    reaper.round()
    assert sent == [waiting.id]
    time.seconds += SOON + 1
    reaper.round()
    assert sent == [waiting.id] * 2


def test_a_message_is_sent_again_in_the_end_whatever_the_workers_say(
    reaper: Reaper, jobs: Jobs, time: FakeTime, sent: list[str]
) -> None:
    waiting = jobs.submit(NewJob(new_job_id(), "knee", "knee", "scan.nii", {}))
    jobs.mark_sent(waiting.id)
    time.seconds += OVERDUE + 1
    reaper.round()
    assert sent == [waiting.id]


def test_one_round_sends_a_bounded_number_of_messages(reaper: Reaper, jobs: Jobs, sent: list[str]) -> None:
    for _ in range(MESSAGES + 1):
        jobs.submit(NewJob(new_job_id(), "knee", "knee", "scan.nii", {}))
    reaper.round()
    assert len(sent) == MESSAGES
    reaper.round()
    assert len(set(sent)) == MESSAGES + 1
