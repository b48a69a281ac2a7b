"""What a worker does with one job: claim, run its steps, publish; and keeps the job's lease meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from sqlalchemy.exc import SQLAlchemyError

from app.core.gpu.admission import Cards, NoCards
from app.core.ledger import Job, Jobs, State, is_full
from app.core.pipelines import Pipeline, Step
from app.core.runner import StepStopped, run_step
from app.core.step import StepCall, StepError, limit
from app.core.storage import Storage

log = logging.getLogger(__name__)
OUTPUT = "results"  # the folder in a work folder whose files become the job's result
SUMMARY_LIMIT = 100  # keys of a step's summary that are kept
LOOK_EVERY = 1.0  # seconds between two looks at whether the job is still wanted
PROGRESS_EVERY = 0.5  # seconds between two notes of progress in the ledger
NOTE_AGAIN = 1.0  # seconds between two tries to note a job's end
GPU_OOM = "GPU_OOM"
# How often a job goes back because others took the memory of its card. Each time the card had been free when the job
# began, so that a job which is hit so often is most likely too large beside a neighbour that nothing is seen of.
MOST_DISPLACED = 5


class KeepLease:
    """Renews a job's lease in a thread; `lost()` turns true once it cannot, before the lease ends, or is not to."""

    def __init__(self, jobs: Jobs, job: Job, lease: float) -> None:
        self._jobs, self._job, self._lease = jobs, job, lease
        self._stop = threading.Event()
        self._lost = threading.Event()
        # CLOCK_BOOTTIME, like the ledger: a suspended host's lease ends while it sleeps.
        self._renewed = time.clock_gettime(time.CLOCK_BOOTTIME)
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def lost(self) -> bool:
        """Whether the job must be let go at once."""
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - self._renewed
        return self._lost.is_set() or age > self._lease * 0.8

    def _run(self) -> None:
        while not self._stop.wait(min(LOOK_EVERY, self._lease / 6)):
            try:
                kept = self._look()
            except Exception as error:  # noqa: BLE001  whatever it is, the next look may succeed
                log.warning("job %s: its lease could not be renewed: %s", self._job.id, error)
                if is_full(error):  # nobody can take the job from us either, so it is not let go
                    self._renewed = time.clock_gettime(time.CLOCK_BOOTTIME)
                continue
            if not kept:
                self._lost.set()
                return

    def _look(self) -> bool:
        """See whether the job is still wanted, and renew its lease when that is due."""
        if not self._jobs.is_wanted(self._job):
            return False
        asked = time.clock_gettime(time.CLOCK_BOOTTIME)
        if asked - self._renewed < self._lease / 6:
            return True
        kept = self._jobs.renew(self._job, self._lease)
        self._renewed = asked
        return kept

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@dataclass(slots=True)
class Meter:
    """Turns the progress of one step into the progress of the job, and notes it in the ledger, not too often."""

    jobs: Jobs
    job: Job
    steps: int
    step: int = 0
    began: float = 0.0
    noted: float = 0.0

    def begin(self, name: str) -> None:
        """The next step begins."""
        self.step += 1
        self.began = self.noted = time.monotonic()
        with self._noting():
            self.jobs.begin_step(self.job, number=self.step, steps=self.steps, name=name)

    def end(self, outcome: str) -> None:
        """The present step has ended by itself: done, skipped or failed."""
        lasted = time.monotonic() - self.began
        with self._noting():
            self.jobs.end_step(self.job, number=self.step, outcome=outcome, duration=lasted)

    def tell(self, percent: float, text: str) -> None:
        """The present step is so far."""
        if time.monotonic() - self.noted < PROGRESS_EVERY:
            return
        self.noted = time.monotonic()
        whole = (self.step - 1 + percent / 100) / self.steps * 100
        with self._noting():
            self.jobs.progress(self.job, percent=whole, step=self.step, steps=self.steps, step_name=text)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError:  # a figure for the page is not worth a job
            log.warning("job %s: its progress could not be noted", self.job.id, exc_info=True)


def _call(pipeline: Pipeline, step: Step, work: Path, elapsed: float) -> StepCall:
    """The step as it is called `elapsed` seconds after the job began."""
    timeout, late = limit(step.name, step.timeout, pipeline.timeout, elapsed)
    return StepCall(
        name=step.name,
        python=step.python or pipeline.python,
        code=pipeline.code,
        work=work,
        timeout=timeout,
        environment=step.environment,
        error=step.error,
        exit_codes=step.exit_codes,
        command=step.command,
        late=late,
    )


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt ended: `note` notes it in the ledger. `is_last`: the job is not tried again."""

    note: Callable[[], bool]
    is_last: bool = True


@dataclass(frozen=True, slots=True)
class Workshop:
    """Everything that working on jobs needs."""

    jobs: Jobs
    storage: Storage
    pipelines: Mapping[str, Pipeline]
    lease: float
    cards: Cards = field(default_factory=NoCards)

    def work(self, job: Job) -> None:
        """Bring a claimed job to its end. An attempt that lost the job leaves nothing behind."""
        try:
            with KeepLease(self.jobs, job, self.lease) as lease:
                end = self._attempt(job, lease)
                self._note(job, lease, end.note)
            if end.is_last:
                self._drop_original(job)
        except StepStopped:
            self._give_away(job)
        finally:
            self.storage.drop_work(job.id, job.attempt)

    def _attempt(self, job: Job, lease: KeepLease) -> End:
        """Work on the job; gives its end, which is to be noted in the ledger. Raises StepStopped."""
        try:
            summary = self._run(job, lease)
            size = self.storage.pack_result(job.id, job.attempt, self._folder(job) / OUTPUT)
        except StepStopped:
            raise
        except StepError as error:
            return (
                self._gpu_failure(job, str(error))
                if error.code == GPU_OOM
                else self._failure(job, error.code, str(error))
            )
        except Exception as error:
            log.exception("job %s: attempt %d", job.id, job.attempt)
            told = f"The site itself failed while it worked on this job ({type(error).__name__}); its log says more."
            return self._failure(job, "PIPELINE_ERROR", told)
        log.info("job %s: attempt %d has its result", job.id, job.attempt)
        return End(partial(self.jobs.publish, job, size=size, summary=summary))

    def _gpu_failure(self, job: Job, message: str) -> End:
        """The card had too little memory for the job, which waits for it again if that was others' doing."""
        others = self.cards.crowded()
        if others is None:
            return self._failure(job, GPU_OOM, message)
        before = self.jobs.displaced(job)
        if before >= MOST_DISPLACED:
            told = f"Others took the memory of its card in {before + 1} attempts; in the last one: {others}.\n{message}"
            return self._failure(job, GPU_OOM, told)
        self.storage.drop_result(job.id, job.attempt)
        log.warning("job %s: attempt %d had no memory, and waits again (%s)", job.id, job.attempt, others)
        return End(partial(self.jobs.displace, job), is_last=False)

    def _failure(self, job: Job, code: str, message: str) -> End:
        self.storage.drop_result(job.id, job.attempt)
        log.warning("job %s: attempt %d failed with %s", job.id, job.attempt, code)
        return End(partial(self.jobs.fail, job, code=code, message=message))

    def _note(self, job: Job, lease: KeepLease, end: Callable[[], bool]) -> None:
        """Note the job's end; a ledger that is full or locked for a while costs nothing. Raises StepStopped."""
        while True:
            try:
                noted = end()
            except SQLAlchemyError:
                if lease.lost():
                    raise StepStopped from None
                log.warning("job %s: its end could not be noted; trying again", job.id, exc_info=True)
                time.sleep(NOTE_AGAIN)
            else:
                if not noted and not self._is_published(job):
                    raise StepStopped
                return

    def _is_published(self, job: Job) -> bool:
        """Whether this very attempt was noted as done: by a try whose answer was lost on the way."""
        now = self.jobs.find(job.id)
        return now is not None and (now.state, now.attempt) == (State.DONE, job.attempt)

    def _give_away(self, job: Job) -> None:
        """The attempt lost the job, or its user does not want it any more: nothing of it stays."""
        self.storage.drop_result(job.id, job.attempt)
        cancelled = self.jobs.let_go(job)
        how = "was cancelled" if cancelled else "lost the job"
        log.warning("job %s: attempt %d %s; its output is deleted", job.id, job.attempt, how)
        if cancelled:
            self._drop_original(job)

    def _drop_original(self, job: Job) -> None:
        """The job has ended, and will not be tried again. Should this be cut short, the clean-up does it."""
        if not job.keep_input:
            try:
                self.storage.drop_input(job.id)
            except OSError:
                log.exception("job %s: its original could not be deleted; the clean-up tries again", job.id)

    def _folder(self, job: Job) -> Path:
        return self.storage.root / "work" / job.id / str(job.attempt)

    def _run(self, job: Job, lease: KeepLease) -> dict[str, Any]:
        """Run all steps; gives the summaries that they wrote, joined."""
        pipeline = self.pipelines.get(job.pipeline)
        if pipeline is None:
            raise StepError("CONFIG_ERROR", f"This site has no pipeline {job.pipeline!r}.")
        if lease.lost():
            raise StepStopped
        if not pipeline.steps:  # nobody would look into its work folder
            return {}
        work = self.storage.begin_work(job.id, job.attempt)
        (work / OUTPUT).mkdir()
        source = self.storage.input(job.id)
        config = {
            "input": str(work / source.name) if source else "",
            "output": str(work / OUTPUT),
            "models": {name: str(path) for name, path in pipeline.models.items()},
        }
        meter = Meter(self.jobs, job, len(pipeline.steps))
        summary: dict[str, Any] = {}
        began = time.monotonic()
        for step in pipeline.steps:
            call = _call(pipeline, step, work, elapsed=time.monotonic() - began)
            call = replace(call, options=job.options, config=config)
            result = self._step(call, job, meter, lease)
            told = result.get("summary")
            summary |= dict(list(told.items())[:SUMMARY_LIMIT]) if isinstance(told, dict) else {}
        return summary

    def _looks(self, lease: KeepLease) -> bool:
        """Called several times a second while a step runs; whether it is to be stopped."""
        self.cards.look()
        return lease.lost()

    def _step(self, call: StepCall, job: Job, meter: Meter, lease: KeepLease) -> dict[str, Any]:
        """Run one step, and note in the ledger how it went."""
        meter.begin(call.name)
        try:
            result = run_step(
                call, log=self.storage.log(job.id), on_progress=meter.tell, stop=lambda: self._looks(lease)
            )
        except StepError:
            meter.end("failed")
            raise
        meter.end("skipped" if result.get("skipped") else "done")
        return result
