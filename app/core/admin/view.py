"""What an administrator reads of jobs and figures: rows and lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.core.admin.table import coloured, columns, lasted, size, when
from app.core.ledger import Attempt, Job, State, StepRun
from app.core.service import Service


def listed(service: Service, jobs: Sequence[Job], *, colour: bool) -> str:
    """Jobs as a table."""
    head = ("job", "state", "queue", "submitted", "lasted", "attempt", "what")
    return columns(head, [_row(service, job) for job in jobs], colour=colour)


def _row(service: Service, job: Job) -> tuple[str, ...]:
    seconds = service.jobs.since(job) if job.state == State.RUNNING else job.duration
    what = f"{_what(service, job)} (verify)".lstrip() if job.verify else _what(service, job)
    return (job.id, job.state, job.queue, when(job.submitted_wall), lasted(seconds), str(job.attempt), what)


def _what(service: Service, job: Job) -> str:
    if job.state == State.QUEUED:
        return "; ".join(filter(None, (f"number {service.jobs.position(job)}", service.jobs.waits_for(job.queue))))
    if job.state == State.RUNNING:
        ends = ", is being cancelled" if job.cancel_requested else ""
        return f"{job.progress:.0f} % {job.step_name or ''}".rstrip() + ends
    return job.error_code or ""


def facts(service: Service, job: Job, *, colour: bool) -> Iterator[str]:
    """A line for each thing known of a job itself."""
    kept = service.storage.input(job.id)
    known = {
        "job": job.id,
        "state": job.state,
        "waits": (service.jobs.waits_for(job.queue) or "") if job.state == State.QUEUED else "",
        "error": f"{job.error_code}: {job.error_message}" if job.error_code else "",
        "pipeline": f"{job.pipeline}, queue {job.queue}",
        "options": ", ".join(f"{name}={value}" for name, value in job.options.items()),
        "submitted": when(job.submitted_wall),
        "ended": when(job.ended_wall),
        "lasted": lasted(job.duration),
        "result": size(job.result_size),
        "original": f"kept, {size(kept.stat().st_size)}" if kept else "deleted",
    }
    for name, value in known.items():
        if value not in ("", "-"):
            yield f"{name + ':':<12}{coloured(value, value, on=colour)}"


def tried(attempts: Sequence[Attempt], *, colour: bool) -> str:
    """Attempts as a table."""
    rows = [(str(each.attempt), when(each.began_wall), lasted(each.duration), *_end(each)) for each in attempts]
    return columns(("attempt", "began", "lasted", "outcome", "code", "release", "owner"), rows, colour=colour)


def _end(attempt: Attempt) -> tuple[str, str, str, str]:
    return attempt.outcome or "running", attempt.error_code or "-", attempt.release or "-", attempt.owner


def stepped(steps: Sequence[StepRun], *, colour: bool) -> str:
    """Steps as a table."""
    rows = [
        (str(each.attempt), str(each.number), each.name, when(each.began_wall), lasted(each.duration), _outcome(each))
        for each in steps
    ]
    return columns(("attempt", "step", "name", "began", "lasted", "outcome"), rows, colour=colour)


def _outcome(step: StepRun) -> str:
    return step.outcome or "-"


def figures(queues: Mapping[str, Mapping[str, Any]], free: int, *, colour: bool) -> Iterator[str]:
    """Figures of each queue, failures by code, and room on the disk."""
    head = ("queue", *(state.value for state in State), "waits", "mean", "workers")
    rows = []
    for queue, each in queues.items():
        times = (lasted(each["oldest_queued_seconds"]), lasted(each["mean_seconds"]))
        rows.append((queue, *map(str, each["jobs"].values()), *times, str(each["workers"])))
    yield columns(head, rows, colour=colour)
    for queue, each in queues.items():
        for code, count in sorted(each["failures"].items(), key=lambda item: -item[1]):
            yield f"{queue}: {count} × {code}"
    yield f"free on disk: {size(free)}"
