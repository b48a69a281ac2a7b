"""What people are told of the queue, after any sequence of events, beside a model of it that fits on a page."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import mean

import pytest

from app.core.ledger import Clock, Database, Job, Jobs, NewJob
from app.core.ledger.job import mean_duration, remaining
from app.core.storage import new_job_id
from app.knee.answers import status
from tests.unit.app.conftest import FakeTime

LEASE = 30.0
EVENTS = 250
OFTEN = {"submit": 9, "claim": 8, "publish": 9, "fail": 1, "lose": 1, "cancel": 1, "delete": 1, "step the clock": 2}


@dataclass
class Model:
    """The queue as a list in order of arrival, and the durations in order of ends."""

    waiting: list[Job] = field(default_factory=list)
    running: list[Job] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)
    durations: dict[str, list[float]] = field(default_factory=lambda: {"knee": [], "other": []})

    def position(self, job: Job) -> int:
        same = [each.seq for each in self.waiting if (each.queue, each.verify) == (job.queue, job.verify)]
        return sorted(same).index(job.seq) + 1

    def expected(self, queue: str) -> float:
        last = self.durations[queue][-20:]
        return mean(last) if last else 240.0

    def head(self) -> Job:
        return min(self.waiting, key=lambda job: (not job.verify, job.seq))


@dataclass
class World:
    """The ledger and the model, to which the same happens."""

    jobs: Jobs
    now: FakeTime
    wall: FakeTime
    chance: random.Random
    model: Model = field(default_factory=Model)

    def any_of(self, jobs: list[Job]) -> Iterator[Job]:
        yield from self.chance.sample(jobs, min(1, len(jobs)))

    def happen(self, event: str) -> None:
        self.now.seconds += self.chance.uniform(0, 20)
        getattr(self, f"_{event.replace(' ', '_')}")()

    def _submit(self) -> None:
        queue, verify = self.chance.choice(["knee", "knee", "knee", "other"]), self.chance.random() < 0.1
        self.model.waiting.append(self.jobs.submit(NewJob(new_job_id(), queue, "knee", "a.nii", {}, verify=verify)))

    def _claim(self) -> None:
        claimed = self.jobs.claim_next(["knee", "other"], "w", LEASE)
        assert (claimed and claimed.id) == (self.model.head().id if self.model.waiting else None)
        if claimed:
            self.model.waiting.remove(self.model.head())
            self.model.running.append(claimed)

    def _publish(self) -> None:
        for job in self.any_of(self.model.running):
            self.model.running.remove(job)
            wanted = job.id not in self.model.cancelled
            assert self.jobs.publish(job, size=1, summary={}) is wanted
            if not wanted:
                assert self.jobs.let_go(job)
            elif not job.verify:
                self.model.durations[job.queue].append(self.now.seconds - (job.started_at or 0))

    def _fail(self) -> None:
        for job in self.any_of(self.model.running):
            self.model.running.remove(job)
            assert self.jobs.fail(job, code="X", message="x") or self.jobs.let_go(job)

    def _lose(self) -> None:
        for job in self.any_of(self.model.running):
            self.model.running.remove(job)
            assert self.jobs.take_back(job)
            if job.id not in self.model.cancelled and job.attempt < 3:
                self.model.waiting.append(job)

    def _cancel(self) -> None:
        for job in self.any_of([*self.model.waiting, *self.model.running]):
            assert self.jobs.cancel(job.id)
            self.model.cancelled.add(job.id)
            self.model.waiting = [each for each in self.model.waiting if each.id != job.id]

    def _delete(self) -> None:
        for job in self.any_of(self.model.waiting):
            assert self.jobs.delete(job.id)
            self.model.waiting.remove(job)

    def _step_the_clock(self) -> None:
        self.wall.seconds += self.chance.choice([-3600, 3600])


@pytest.mark.parametrize(("kind", "seed"), [("file", 1), ("file", 2), ("server", 3)])
def test_positions_and_estimates_are_right_after_any_events(database: Database, seed: int) -> None:
    now, wall = FakeTime(), FakeTime()
    world = World(Jobs(database, Clock("boot-a", now, wall)), now, wall, random.Random(seed))
    for event in world.chance.choices(list(OFTEN), list(OFTEN.values()), k=EVENTS):
        world.happen(event)
        jobs, model = world.jobs, world.model
        assert {job.id for job in jobs.running()} == {job.id for job in model.running}, event
        for queue in ("knee", "other"):
            assert jobs.mean(queue) == pytest.approx(model.expected(queue)), event
        for job in world.chance.sample(model.waiting, min(2, len(model.waiting))):
            found = jobs.find(job.id)
            assert found is not None
            position = model.position(job)
            wait = round(position * jobs.mean(job.queue))
            told = {"job_id": job.id, "status": "queued", "queue_position": position, "estimated_wait": wait}
            assert status(jobs, found) == told, event


@pytest.mark.parametrize(("durations", "mean"), [([], 240), ([10, 20], 15), ([10] * 20 + [5000], 10)])
def test_mean_duration(durations: list[float], mean: float) -> None:
    assert mean_duration(durations) == mean


@pytest.mark.parametrize(("elapsed", "progress", "left"), [(10, 0, 90), (200, 0, 0), (30, 50, 30), (30, 75, 10)])
def test_remaining(elapsed: float, progress: float, left: float) -> None:
    assert remaining(elapsed, progress, 100) == left
