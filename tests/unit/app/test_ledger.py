from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.core.ledger import Clock, Database, Job, Jobs, NewJob, Place
from app.core.storage import new_job_id
from tests.unit.app.conftest import FakeTime
from tests.unit.app.places import REPOSITORY, environment_of

LEASE = 30.0


@pytest.fixture(params=["file", "server"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def submit(jobs: Jobs, *, verify: bool = False, queue: str = "knee") -> Job:
    return jobs.submit(NewJob(new_job_id(), queue, "knee", "scan.nii", {"smoothing": 1}, verify=verify))


def claim(jobs: Jobs) -> Job:
    job = jobs.claim_next(["knee"], "worker@0 1 2 3", LEASE)
    assert job is not None
    return job


def state(jobs: Jobs, job: Job) -> str:
    found = jobs.find(job.id)
    return found.state if found else "forgotten"


def never(_owner: str) -> bool:
    return False


def test_jobs_are_claimed_oldest_first_but_verify_jobs_before_all(jobs: Jobs) -> None:
    first, second, verify = submit(jobs), submit(jobs), submit(jobs, verify=True)
    assert [claim(jobs).id for _ in range(3)] == [verify.id, first.id, second.id]
    assert jobs.claim_next(["knee"], "w", LEASE) is None


def test_a_worker_claims_only_from_its_queues(jobs: Jobs) -> None:
    submit(jobs, queue="other")
    assert jobs.claim_next(["knee"], "w", LEASE) is None


def test_claim_gives_the_job_an_attempt_an_owner_and_a_lease(jobs: Jobs, time: FakeTime) -> None:
    submitted = submit(jobs)
    job = claim(jobs)
    assert (submitted.attempt, job.attempt, job.state, job.owner) == (0, 1, "running", "worker@0 1 2 3")
    assert (job.lease_until, job.options) == (time.seconds + LEASE, {"smoothing": 1})


def test_published_job_is_done_with_its_duration(jobs: Jobs, time: FakeTime) -> None:
    submit(jobs)
    job = claim(jobs)
    time.seconds += 12
    assert jobs.publish(job, size=7, summary={"a": 1})
    done = jobs.find(job.id)
    assert done is not None
    assert (done.state, done.duration, done.result_size, done.summary, done.progress) == ("done", 12, 7, {"a": 1}, 100)


@pytest.mark.parametrize("late", ["publish", "fail", "renew", "progress"])
def test_an_attempt_that_lost_its_job_changes_nothing(jobs: Jobs, time: FakeTime, late: str) -> None:
    submit(jobs)
    old = claim(jobs)
    time.seconds += LEASE + 1
    assert jobs.take_back(old)
    new = claim(jobs)
    actions: dict[str, Any] = {
        "publish": lambda: jobs.publish(old, size=1, summary={}),
        "fail": lambda: jobs.fail(old, code="X", message="x"),
        "renew": lambda: jobs.renew(old, LEASE),
        "progress": lambda: jobs.progress(old, percent=50, step=1, steps=1, step_name="x"),
    }
    assert actions[late]() is False
    assert jobs.find(old.id) == new


def test_only_one_result_is_published(jobs: Jobs) -> None:
    submit(jobs)
    job = claim(jobs)
    assert [jobs.publish(job, size=1, summary={}) for _ in range(3)] == [True, False, False]
    assert not jobs.fail(job, code="X", message="x")


@pytest.mark.parametrize(
    ("seconds", "boot", "gone", "dead"),
    [
        (LEASE - 1, "boot-a", False, False),
        (LEASE + 1, "boot-a", False, True),
        (0, "boot-b", False, True),
        (0, "boot-a", True, True),
    ],
)
def test_dead_leases(
    database: Database, jobs: Jobs, time: FakeTime, *, seconds: float, boot: str, gone: bool, dead: bool
) -> None:
    submit(jobs)
    job = claim(jobs)
    time.seconds += seconds
    assert Jobs(database, Clock(boot, time, time)).is_dead(job, lambda _: gone) is dead


def test_stepped_wall_clock_ends_no_lease(database: Database, time: FakeTime) -> None:
    wall = FakeTime()
    jobs = Jobs(database, Clock("boot-a", time, wall))
    submit(jobs)
    job = claim(jobs)
    wall.seconds += 3600
    assert not jobs.is_dead(job, never)


def test_renewed_lease_is_not_taken_back(jobs: Jobs, time: FakeTime) -> None:
    submit(jobs)
    seen = claim(jobs)
    time.seconds += LEASE + 1
    assert jobs.renew(seen, LEASE)
    assert not jobs.take_back(seen)
    assert state(jobs, seen) == "running"


def test_job_that_kills_its_worker_three_times_is_given_up(jobs: Jobs) -> None:
    job = submit(jobs)
    for _ in range(2):
        assert jobs.take_back(claim(jobs))
        assert state(jobs, job) == "queued"
    assert jobs.take_back(claim(jobs))
    failed = jobs.find(job.id)
    assert failed is not None
    assert (failed.state, failed.error_code) == ("failed", "PIPELINE_ERROR")
    assert "died 3 times" in (failed.error_message or "")


def test_unsent_jobs_are_sent_and_lost_messages_of_each_queue_s_head_again(jobs: Jobs, time: FakeTime) -> None:
    first, second, other = submit(jobs), submit(jobs), submit(jobs, queue="other")
    assert [job.id for job in jobs.unsent(lambda _: 15)] == [first.id, second.id, other.id]
    for job in (first, second, other):
        jobs.mark_sent(job.id)
    assert jobs.unsent(lambda _: 15) == []
    time.seconds += 16
    assert [job.id for job in jobs.unsent(lambda _: 15)] == [first.id, other.id]


def test_message_sent_in_an_earlier_boot_is_lost(database: Database, jobs: Jobs, time: FakeTime) -> None:
    job = submit(jobs)
    jobs.mark_sent(job.id)
    assert [found.id for found in Jobs(database, Clock("boot-b", time, time)).unsent(lambda _: 15)] == [job.id]


def test_positions_are_exact_and_verify_jobs_stand_apart(jobs: Jobs) -> None:
    queue = [submit(jobs) for _ in range(3)]
    verify = submit(jobs, verify=True)
    assert [jobs.position(job) for job in [*queue, verify]] == [1, 2, 3, 1]
    for _ in range(2):
        jobs.fail(claim(jobs), code="X", message="x")
    assert [jobs.position(job) for job in queue[1:]] == [1, 2]
    jobs.delete(queue[1].id)
    assert jobs.position(queue[2]) == 1


def test_mean_is_of_the_last_twenty_users_jobs_that_ended_well(jobs: Jobs, time: FakeTime) -> None:
    assert jobs.mean("knee") == 240
    for number, seconds in enumerate([1000.0, *[10.0] * 19, 50.0]):
        submit(jobs, verify=number == 5)
        job = claim(jobs)
        time.seconds += seconds
        jobs.publish(job, size=1, summary={})
    submit(jobs)
    jobs.fail(claim(jobs), code="X", message="x")
    assert jobs.mean("knee") == pytest.approx((1000 + 18 * 10 + 50) / 20)


def test_mean_is_of_those_that_ended_last_whatever_the_clock_said(database: Database, time: FakeTime) -> None:
    wall = FakeTime()
    jobs = Jobs(database, Clock("boot-a", time, wall))
    for seconds in (1000.0, *[10.0] * 20):
        submit(jobs)
        job = claim(jobs)
        time.seconds += seconds
        wall.seconds -= 3600
        jobs.publish(job, size=1, summary={})
    assert jobs.mean("knee") == 10


def test_waiting_job_is_cancelled_at_once(jobs: Jobs) -> None:
    first, second = submit(jobs), submit(jobs)
    assert jobs.cancel(first.id)
    assert state(jobs, first) == "cancelled"
    assert jobs.position(second) == 1
    assert claim(jobs).id == second.id


def test_running_job_is_cancelled_once_its_worker_lets_it_go(jobs: Jobs) -> None:
    submit(jobs)
    job = claim(jobs)
    assert jobs.is_wanted(job)
    assert not jobs.let_go(job), "nobody asked for its end"
    assert jobs.cancel(job.id)
    assert (state(jobs, job), jobs.is_wanted(job)) == ("running", False)
    assert jobs.renew(job, LEASE), "it is its worker's until that has let it go"
    assert jobs.let_go(job)
    assert state(jobs, job) == "cancelled"


@pytest.mark.parametrize("end", ["publish", "fail"])
def test_of_cancel_and_another_end_the_first_wins(jobs: Jobs, end: str) -> None:
    def ends(job: Job) -> bool:
        return jobs.publish(job, size=1, summary={}) if end == "publish" else jobs.fail(job, code="X", message="x")

    submit(jobs)
    job = claim(jobs)
    assert [jobs.cancel(job.id), ends(job), jobs.let_go(job)] == [True, False, True]
    submit(jobs)
    job = claim(jobs)
    assert [ends(job), jobs.cancel(job.id), jobs.let_go(job)] == [True, False, False]
    assert state(jobs, job) == ("done" if end == "publish" else "failed")


def test_cancelled_job_of_a_dead_worker_is_not_tried_again(jobs: Jobs) -> None:
    submit(jobs)
    job = claim(jobs)
    jobs.cancel(job.id)
    assert jobs.take_back(job)
    assert state(jobs, job) == "cancelled"


def test_what_has_ended_or_never_was_cannot_be_cancelled(jobs: Jobs) -> None:
    job = submit(jobs)
    assert [jobs.cancel(job.id), jobs.cancel(job.id), jobs.cancel("0" * 32)] == [True, False, False]


def test_history_tells_every_attempt_and_step(jobs: Jobs, time: FakeTime) -> None:
    submit(jobs)
    lost = claim(jobs)
    jobs.begin_step(lost, number=1, steps=2, name="segment")
    time.seconds += LEASE + 1
    jobs.take_back(lost)
    job = jobs.claim_next(["knee"], "worker@1", LEASE, "release-2")
    assert job is not None
    for number, (name, outcome) in enumerate([("segment", "done"), ("measure", "skipped")], 1):
        assert jobs.begin_step(job, number=number, steps=2, name=name)
        jobs.end_step(job, number=number, outcome=outcome, duration=number)
    time.seconds += 7
    jobs.fail(job, code="TIMEOUT", message="x")
    told = [(one.owner, one.release, one.outcome, one.error_code, one.duration) for one in jobs.attempts(job.id)]
    assert told == [
        ("worker@0 1 2 3", "", "lost", None, LEASE + 1),
        ("worker@1", "release-2", "failed", "TIMEOUT", 7),
    ]
    steps = [(step.attempt, step.number, step.name, step.outcome, step.duration) for step in jobs.steps(job.id)]
    assert steps == [
        (1, 1, "segment", None, None),
        (2, 1, "segment", "done", 1),
        (2, 2, "measure", "skipped", 2),
    ]
    assert not jobs.begin_step(lost, number=2, steps=2, name="measure"), "a lost attempt adds nothing"
    jobs.delete(job.id)
    assert (jobs.attempts(job.id), jobs.steps(job.id)) == ([], [])


def test_job_expires_a_while_after_its_end_and_its_attempt_in_an_earlier_boot_has_no_duration(
    database: Database, jobs: Jobs, time: FakeTime
) -> None:
    submit(jobs)
    job = claim(jobs)
    after_boot = Jobs(database, Clock("boot-b", lambda: 5.0, time), max_attempts=1, kept=100)
    assert after_boot.take_back(job)
    ended = jobs.find(job.id)
    assert ended is not None
    assert (ended.state, ended.duration, ended.expires_wall) == ("failed", None, time.seconds + 100)


def test_old_verify_jobs_are_found(jobs: Jobs, time: FakeTime) -> None:
    verify = submit(jobs, verify=True)
    submit(jobs)
    for _ in range(2):
        jobs.publish(claim(jobs), size=1, summary={})
    assert jobs.old_verify_jobs(3600) == []
    time.seconds += 3601
    assert jobs.old_verify_jobs(3600) == [verify.id]


CLAIMER = """
import os, sys
from app.core.ledger import Jobs, clock_of, open_database, place_of
place = place_of(os.environ)
jobs = Jobs(open_database(place), clock_of(place))
print("ready", flush=True)
sys.stdin.readline()
while job := jobs.claim_next(["knee"], "x", 30):
    print(job.id, jobs.publish(job, size=1, summary={}))
"""


def test_two_processes_never_claim_the_same_job(place: Place, jobs: Jobs, tmp_path: Path) -> None:
    submitted = sorted(submit(jobs).id for _ in range(200))
    command = [sys.executable, "-c", CLAIMER]
    pipe = subprocess.PIPE
    claimers = [
        subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, cwd=REPOSITORY, env=environment_of(place, tmp_path)
        )
        for _ in range(2)
    ]
    for claimer in claimers:
        assert claimer.stdout is not None
        claimer.stdout.readline()
    with ThreadPoolExecutor() as pool:
        halves = [said.splitlines() for said, _ in pool.map(lambda claimer: claimer.communicate("go\n"), claimers)]
    assert sorted(line for half in halves for line in half) == [f"{job} True" for job in submitted]
    assert all(halves), "one process did everything; the test showed nothing"
