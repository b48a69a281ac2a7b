"""What is deleted, when, and that a clean-up which was cut short or kept away is seen."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time as wall_time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.core.health import OK, cleanup_check
from app.core.ledger import Clock, Database, Job, Jobs, NewJob
from app.core.ledger.lifetime import Lifetime
from app.core.retention import CleanUp
from app.core.storage import Storage, new_job_id
from tests.unit.app.conftest import FakeTime
from tests.unit.app.places import REPOSITORY
from tests.unit.app.running_site import PHANTOM
from tests.unit.app.uploads import upload

DAY = 86400.0
ADDRESS = "eleonore.quidditch@example.org"
LEASE = 30.0


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "state")


@pytest.fixture
def lifetime(database: Database, clock: Clock) -> Lifetime:
    return Lifetime(database, clock)


@pytest.fixture
def clean_up(storage: Storage, lifetime: Lifetime) -> Callable[[], CleanUp]:
    def run() -> CleanUp:
        done = CleanUp(storage, lifetime)
        done.run()
        return done

    return run


def submitted(jobs: Jobs, storage: Storage, *, keep_input: bool = False) -> str:
    job_id = new_job_id()
    storage.begin_upload(job_id).write_bytes(b"scan")
    storage.accept_upload(job_id, ".nii")
    storage.log(job_id).write_text("a step's words")
    jobs.submit(NewJob(job_id, "knee", "knee", "scan.nii", {}, keep_input=keep_input, email=ADDRESS, client="c"))
    return job_id


def claimed(jobs: Jobs) -> Job:
    job = jobs.claim_next(["knee"], "me", LEASE)
    assert job is not None
    return job


def result_of(storage: Storage, job: Job) -> Path:
    produced = storage.begin_work(job.id, job.attempt) / "results"
    produced.mkdir()
    (produced / "metrics.json").write_text("{}")
    storage.pack_result(job.id, job.attempt, produced)
    return storage.result(job.id, job.attempt)


def files_of(storage: Storage, job_id: str) -> set[str]:
    return {
        path.relative_to(storage.root).parts[0] for path in storage.root.rglob(f"*{job_id}*/**/*") if path.is_file()
    }


def test_an_original_goes_when_its_job_has_ended_and_not_while_it_may_be_tried_again(
    jobs: Jobs, storage: Storage, clean_up: Callable[[], CleanUp]
) -> None:
    waiting, running, ended, kept = (submitted(jobs, storage, keep_input=number == 3) for number in range(4))
    order = [claimed(jobs) for _ in range(4)]
    jobs.take_back(order[0])  # its worker died: it waits again
    for job in order[2:]:
        jobs.fail(job, code="PIPELINE_ERROR", message="")
    clean_up()
    assert [storage.input(each) is None for each in (waiting, running, ended, kept)] == [False, False, True, False]


def test_everything_of_an_expired_job_goes_and_the_ledger_keeps_only_what_names_nobody(
    jobs: Jobs, storage: Storage, time: FakeTime, clean_up: Callable[[], CleanUp]
) -> None:
    job_id = submitted(jobs, storage, keep_input=True)
    job = claimed(jobs)
    result_of(storage, job)
    jobs.publish(job, size=7, summary={"volume": 12.5})
    time.seconds += DAY - 1
    clean_up()
    assert files_of(storage, job_id) >= {"uploads", "results"}
    time.seconds += 2
    assert clean_up().expired == 1
    assert files_of(storage, job_id) == set()
    assert not storage.log(job_id).exists()
    after = jobs.find(job_id)
    assert after is not None
    assert (after.email, after.client, after.input_name, after.summary) == (None, None, "", None)
    assert (after.state, after.duration, after.expired_wall) == ("done", 0.0, time.seconds)
    assert clean_up().expired == 0


def test_a_users_address_is_nowhere_in_the_ledgers_files_after_it_was_forgotten(
    jobs: Jobs, storage: Storage, time: FakeTime, database: Database, tmp_path: Path, clean_up: Callable[[], CleanUp]
) -> None:
    for _ in range(20):
        submitted(jobs, storage)
        jobs.fail(claimed(jobs), code="PIPELINE_ERROR", message="x" * 200)
    database.checkpoint()

    def holding() -> list[str]:
        return [path.name for path in (tmp_path / "ledger").iterdir() if ADDRESS.encode() in path.read_bytes()]

    assert holding() == ["ledger.sqlite"]
    time.seconds += DAY
    clean_up()
    database.checkpoint()
    assert holding() == []


def test_what_belongs_to_no_job_goes_once_it_is_old_and_what_belongs_to_one_stays(
    jobs: Jobs, storage: Storage, clean_up: Callable[[], CleanUp]
) -> None:
    submitted(jobs, storage)
    first = claimed(jobs)
    lost = storage.begin_work(first.id, first.attempt)
    jobs.take_back(first)
    second = claimed(jobs)
    storage.begin_work(second.id, second.attempt)
    lost.mkdir(parents=True)  # its worker slept, and writes again
    unknown = [new_job_id() for _ in range(2)]
    for job_id in unknown:
        storage.begin_upload(job_id).write_bytes(b"scan")
        storage.accept_upload(job_id, ".nii")
        storage.log(job_id).touch()
    old = wall_time.time() - 7 * 3600
    for path in (storage.root / "uploads" / unknown[0], *(storage.root / "uploads" / unknown[0]).iterdir()):
        os.utime(path, (old, old))
    os.utime(storage.log(unknown[0]), (old, old))
    clean_up()
    assert [storage.input(job_id) is None for job_id in unknown] == [True, False]
    assert [storage.log(job_id).exists() for job_id in unknown] == [False, True]
    assert [lost.exists(), (storage.root / "work" / second.id / "2").exists()] == [False, True]


def test_of_an_ended_job_only_the_published_attempts_files_stay(
    jobs: Jobs, storage: Storage, clean_up: Callable[[], CleanUp]
) -> None:
    submitted(jobs, storage)
    job = claimed(jobs)
    result = result_of(storage, job)
    jobs.publish(job, size=7, summary={})
    other = storage.root / "results" / job.id / "7"
    other.mkdir()
    clean_up()
    assert (result.exists(), other.exists()) == (True, False)
    assert not (storage.root / "work" / job.id).exists()


def test_one_file_that_cannot_go_stops_no_other_and_keeps_the_run_from_counting(
    jobs: Jobs, storage: Storage, lifetime: Lifetime, clean_up: Callable[[], CleanUp]
) -> None:
    stuck, fine = (submitted(jobs, storage) for _ in range(2))
    for _ in range(2):
        jobs.fail(claimed(jobs), code="PIPELINE_ERROR", message="")
    mount = storage.root / "uploads" / stuck / "held"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", mount], check=True)
    try:
        done = clean_up()
    finally:
        subprocess.run(["umount", mount], check=True)
    assert stuck in done.failed[0]
    assert storage.input(fine) is None
    assert lifetime.since_clean() is None
    assert clean_up().failed == []
    assert lifetime.since_clean() == 0


@pytest.mark.parametrize("cut", ["drop", "forget"])
def test_a_run_that_is_killed_is_finished_by_the_next(
    jobs: Jobs, storage: Storage, lifetime: Lifetime, time: FakeTime, cut: str, clean_up: Callable[[], CleanUp]
) -> None:
    ids = [submitted(jobs, storage) for _ in range(3)]
    for _ in ids:
        jobs.fail(claimed(jobs), code="PIPELINE_ERROR", message="")
    time.seconds += DAY

    class Killed(BaseException):
        pass

    class Dying(Lifetime):
        def forget(self, ids: Sequence[str]) -> None:
            raise Killed(*ids)

    class DyingStorage(Storage):
        def drop(self, job_id: str) -> None:
            if job_id == ids[1]:
                raise Killed
            super().drop(job_id)

    dying = Dying(lifetime._database, lifetime._clock) if cut == "forget" else lifetime
    with pytest.raises(Killed):
        CleanUp(DyingStorage(storage.root) if cut == "drop" else storage, dying).run()
    assert clean_up().failed == []
    assert all(files_of(storage, job_id) == set() for job_id in ids)
    assert lifetime.due() == []


@pytest.mark.parametrize(
    ("seconds", "boot", "said"),
    [
        (3599, "boot-a", OK),
        (3601, "boot-a", "last succeeded 60 minutes ago; see `systemctl status knee-cleanup.timer knee-cleanup.servi"),
        (-1000, "boot-b", OK),  # the host has just started
        (2601, "boot-b", "last succeeded 60 minutes ago"),
    ],
)
def test_readiness_says_when_the_clean_up_stays_away(
    database: Database, time: FakeTime, lifetime: Lifetime, seconds: float, boot: str, said: str
) -> None:
    lifetime.note_clean()
    time.seconds += seconds
    check = cleanup_check(Lifetime(database, Clock(boot, time, time)), "knee-cleanup.timer", 3600)
    assert check().removeprefix("the clean-up of expired data ").startswith(said)


def test_a_clean_up_that_never_ran_is_told(lifetime: Lifetime) -> None:
    assert "never succeeded" in cleanup_check(lifetime, "knee-cleanup.timer", 3600)()


def run_the_unit(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The clean-up as its unit starts it."""
    base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "app.core.retention"]
    return subprocess.run(command, env=base | environment, check=False, capture_output=True, text=True)


def test_the_site_says_that_a_job_expired_and_hides_nothing_else_behind_it(
    client: TestClient, environment: dict[str, str]
) -> None:
    _, body = upload(client, "Quidditch.nii.gz", PHANTOM.read_bytes())
    job_id = body["job_id"]
    assert client.delete(f"/jobs/{job_id}").status_code == 409
    ledger = Path(environment["FARRIER_STATE"]) / "ledger" / "ledger.sqlite"
    with closing(sqlite3.connect(ledger)) as connection, connection:
        connection.execute("UPDATE jobs SET state = 'done', ended_wall = 1, expires_wall = 2")
    done = run_the_unit(environment)
    assert (done.returncode, "1 expired jobs" in done.stderr) == (0, True), done.stderr
    status = client.get(f"/status/{job_id}").json()
    assert (status["status"], status["error_code"]) == ("error", "EXPIRED")
    answer = client.get(f"/download/{job_id}")
    assert (answer.status_code, "deleted" in answer.text) == (404, True)
    assert not (Path(environment["FARRIER_STATE"]) / "uploads" / job_id).exists()


@pytest.mark.slow  # a locked ledger is waited for
def test_a_ledger_that_cannot_be_used_is_told_and_fails_no_unit(environment: dict[str, str]) -> None:
    ledger = Path(environment["FARRIER_STATE"]) / "ledger" / "ledger.sqlite"
    with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("UPDATE jobs SET step = 1")
        done = run_the_unit(environment)
    assert (done.returncode, "the next run does what is due" in done.stderr) == (0, True), done.stderr


def test_who_has_the_link_can_delete_an_ended_job(client: TestClient, site_jobs: Jobs) -> None:
    _, body = upload(client, "a.nii.gz", PHANTOM.read_bytes())
    job = site_jobs.claim_next(["knee"], "w", LEASE)
    assert job is not None
    site_jobs.fail(job, code="PIPELINE_ERROR", message="")
    assert client.delete(f"/jobs/{body['job_id']}").status_code == 204
    assert client.get(f"/status/{body['job_id']}").json()["error_code"] == "EXPIRED"
    assert client.delete(f"/jobs/{new_job_id()}").status_code == 404
