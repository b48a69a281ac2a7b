from __future__ import annotations

import pytest

from app.core.ledger import Job, Jobs, NewJob, State
from app.core.story import BEGIN, has_ended, place, since
from tests.unit.app.conftest import FakeTime

QUEUED, RUNNING, DONE, FAILED, CANCELLED = State


def new(jobs: Jobs) -> Job:
    return jobs.submit(NewJob("0" * 32, "knee", "knee", "scan.nii", {}))


def claim(jobs: Jobs) -> Job:
    job = jobs.claim_next(["knee"], "worker", 10)
    assert job
    return job


def found(jobs: Jobs) -> Job:
    job = jobs.find("0" * 32)
    assert job
    return job


def told(job: Job, last: int) -> list[tuple[State, int]]:
    return [(State(each.state), each.attempt) for _, each in since(last, job)]


def test_each_state_of_a_job_has_a_later_place_than_the_one_before(jobs: Jobs, time: FakeTime) -> None:
    places = [place(new(jobs))]
    for _ in range(2):
        places.append(place(claim(jobs)))
        time.seconds += 100
        jobs.take_back(found(jobs))
        places.append(place(found(jobs)))
    places.append(place(job := claim(jobs)))
    jobs.publish(job, size=1, summary={})
    places.append(place(found(jobs)))
    assert places == sorted(set(places))


def test_states_that_were_over_before_anybody_looked_are_told_all_the_same(jobs: Jobs, time: FakeTime) -> None:
    queued = new(jobs)
    claim(jobs)
    time.seconds += 100
    jobs.take_back(found(jobs))
    jobs.publish(claim(jobs), size=1, summary={"volume": 1})
    story = [(QUEUED, 0), (RUNNING, 1), (QUEUED, 1), (RUNNING, 2), (DONE, 2)]
    assert told(found(jobs), BEGIN) == story
    assert told(found(jobs), place(queued)) == story[1:]
    before = [each for _, each in since(BEGIN, found(jobs))][:-1]
    assert [(each.summary, each.result_size, each.progress) for each in before] == [(None, None, 0.0)] * 4


@pytest.mark.parametrize("began", [False, True])
def test_a_cancelled_job_was_running_only_if_it_began(jobs: Jobs, began: bool) -> None:
    new(jobs)
    if began:
        claim(jobs)
    jobs.cancel("0" * 32)
    job = found(jobs)
    assert has_ended(job)  # one that runs will only be let go
    assert [state for state, _ in told(job, BEGIN)][:-1] == [QUEUED, RUNNING][: 1 + began]
    assert told(job, place(job)) == [(State(job.state), job.attempt)]


def test_the_present_state_is_told_again_to_who_had_it(jobs: Jobs) -> None:
    job = new(jobs)
    assert told(job, place(job)) == [(QUEUED, 0)]
