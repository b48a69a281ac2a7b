"""One job in a workshop, with a real ledger, storage and step."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from app.core.ledger import Database, Job, Jobs, NewJob, boot_clock
from app.core.pipelines import Pipeline
from app.core.storage import Storage, new_job_id
from app.core.work import Workshop
from tests.unit.app.running_site import is_running, slow_step, stubborn_step, wait_for

LEASE = 3.0


def pipeline(code: Path) -> Pipeline:
    steps = ({"name": "hold", "timeout": 60},)
    return Pipeline.model_validate({"title": "Hold", "python": sys.executable, "code": code, "steps": steps})


@pytest.fixture
def workshop(tmp_path: Path, database: Database) -> Workshop:
    pipelines = {"knee": pipeline(slow_step(tmp_path)), "stubborn": pipeline(stubborn_step(tmp_path))}
    return Workshop(Jobs(database, boot_clock()), Storage(tmp_path / "state"), pipelines, LEASE)


def claimed(workshop: Workshop, pipeline: str = "knee") -> Job:
    job_id = new_job_id()
    workshop.storage.begin_upload(job_id).write_bytes(b"scan")
    workshop.storage.accept_upload(job_id, ".nii")
    workshop.jobs.submit(NewJob(job_id, "knee", pipeline, "scan.nii", {}))
    job = workshop.jobs.claim_next(["knee"], "me", LEASE)
    assert job is not None
    return job


def test_pipeline_without_steps_gives_an_empty_result_and_starts_no_process(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    noop = Pipeline.model_validate({"title": "No-op", "python": "/none", "code": "/none", "steps": ()})
    monkeypatch.setattr(subprocess, "Popen", None)
    job = claimed(workshop)
    replace(workshop, pipelines={"knee": noop}).work(job)
    done = workshop.jobs.find(job.id)
    assert done is not None
    assert (done.state, done.summary) == ("done", {})
    with zipfile.ZipFile(workshop.storage.result(job.id, job.attempt)) as archive:
        assert archive.namelist() == []


@pytest.mark.parametrize(
    ("step", "whole", "told"),
    [(0.5, 60, "Step hold did not end within 0.5 s"), (60, 0.5, "The job did not end within 0.5 s and was stopped in")],
)
def test_limits_of_step_and_job_end_the_job(workshop: Workshop, step: float, whole: float, told: str) -> None:
    hold = workshop.pipelines["knee"]
    steps = (hold.steps[0].model_copy(update={"timeout": step}),)
    job = claimed(workshop)
    replace(workshop, pipelines={"knee": hold.model_copy(update={"timeout": whole, "steps": steps})}).work(job)
    failed = workshop.jobs.find(job.id)
    assert failed is not None
    assert (failed.error_code, told in (failed.error_message or "")) == ("TIMEOUT", True)
    assert told in workshop.storage.log(job.id).read_text()


def left(workshop: Workshop, kind: str) -> list[str]:
    return [path.name for path in (workshop.storage.root / kind).glob("*/*") if path.parent.name != "logs"]


def test_lease_is_renewed_for_as_long_as_the_job_runs(workshop: Workshop, tmp_path: Path) -> None:
    job = claimed(workshop)
    end = (job.lease_until or 0) + LEASE
    thread = threading.Thread(target=workshop.work, args=[job])
    thread.start()

    def renewed() -> bool:
        found = workshop.jobs.find(job.id)
        return found is not None and (found.lease_until or 0) > end

    wait_for(renewed, "a lease renewed for longer than it first lasted")
    (tmp_path / "go").touch()
    thread.join()
    done = workshop.jobs.find(job.id)
    assert done is not None
    assert (done.state, done.summary, left(workshop, "results")) == ("done", {"held": True}, ["1"])


def test_step_of_a_job_that_was_taken_away_is_killed_and_leaves_nothing(workshop: Workshop, tmp_path: Path) -> None:
    job = claimed(workshop)
    timer = threading.Thread(
        target=lambda: wait_for((tmp_path / "starts").exists, "the step") and workshop.jobs.delete(job.id)
    )
    timer.start()
    began = time.monotonic()
    workshop.work(job)  # the step itself would never end
    assert time.monotonic() - began < 50
    timer.join()
    pid = (tmp_path / "starts").read_text().strip()
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the step's end")
    assert left(workshop, "results") == left(workshop, "work") == []


def test_late_result_of_an_attempt_that_lost_the_job_is_deleted(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "go").touch()
    job = claimed(workshop)
    publish = Jobs.publish

    def beaten(jobs: Jobs, job: Job, **result: Any) -> bool:
        jobs.fail(job, code="TIMEOUT", message="somebody else ended it first")
        return publish(jobs, job, **result)

    monkeypatch.setattr(Jobs, "publish", beaten)
    workshop.work(job)
    assert (left(workshop, "results"), left(workshop, "work")) == ([], [])


def test_a_result_whose_publishing_got_no_answer_is_kept(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "go").touch()
    job = claimed(workshop)
    publish, answers = Jobs.publish, iter([False])

    def unheard(jobs: Jobs, job: Job, **result: Any) -> bool:
        done = publish(jobs, job, **result)
        if next(answers, True):
            return done
        raise OperationalError("COMMIT", {}, ConnectionError("the server's answer was lost"))

    monkeypatch.setattr(Jobs, "publish", unheard)
    workshop.work(job)
    done = workshop.jobs.find(job.id)
    assert done is not None
    assert (done.state, left(workshop, "results")) == ("done", ["1"])


@pytest.mark.parametrize(
    ("pipeline", "lost_input", "code"), [("other", False, "CONFIG_ERROR"), ("knee", True, "PIPELINE_ERROR")]
)
def test_job_that_cannot_be_worked_on_fails_with_its_reason(
    workshop: Workshop, pipeline: str, code: str, *, lost_input: bool
) -> None:
    job = claimed(workshop, pipeline)
    if lost_input:
        workshop.storage.drop(job.id)
    workshop.work(job)
    failed = workshop.jobs.find(job.id)
    assert failed is not None
    assert (failed.state, failed.error_code) == ("failed", code)


def test_cancelled_job_ends_with_all_processes_of_its_step(workshop: Workshop, tmp_path: Path) -> None:
    job = claimed(workshop, "stubborn")
    thread = threading.Thread(target=workshop.work, args=[job])
    thread.start()
    starts = tmp_path / "starts"
    processes = wait_for(lambda: starts.exists() and starts.read_text().endswith("\n") and starts.read_text(), "a step")
    pids = [int(pid) for pid in processes.split()]
    assert [is_running(pid) for pid in pids] == [True] * 3
    assert workshop.jobs.cancel(job.id)
    wait_for(lambda: not any(is_running(pid) for pid in pids), "the end of the step's processes")
    thread.join()
    ended = workshop.jobs.find(job.id)
    assert ended is not None
    assert (ended.state, left(workshop, "results"), left(workshop, "work")) == ("cancelled", [], [])
    ((attempt,), (step,)) = workshop.jobs.attempts(job.id), workshop.jobs.steps(job.id)
    assert (attempt.outcome, step.name, step.outcome) == ("cancelled", "hold", None)


@pytest.mark.parametrize("end", ["publish", "fail"])
def test_job_cancelled_at_the_last_moment_ends_as_cancelled(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    (tmp_path / "go").touch()
    job = claimed(workshop, "knee" if end == "publish" else "other")
    original = getattr(Jobs, end)

    def late(jobs: Jobs, job: Job, **result: Any) -> bool:
        assert jobs.cancel(job.id)
        return bool(original(jobs, job, **result))

    monkeypatch.setattr(Jobs, end, late)
    workshop.work(job)
    ended = workshop.jobs.find(job.id)
    assert ended is not None
    assert (ended.state, left(workshop, "results"), left(workshop, "work")) == ("cancelled", [], [])


def test_history_of_a_job_says_how_long_its_step_took(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    began = time.monotonic()  # before the claim, with which the attempt begins
    job = claimed(workshop)
    workshop.work(job)
    (step,) = workshop.jobs.steps(job.id)
    (attempt,) = workshop.jobs.attempts(job.id)
    assert (step.name, step.outcome, attempt.outcome) == ("hold", "done", "done")
    assert 0 < (step.duration or 0) <= (attempt.duration or 0) <= time.monotonic() - began
