"""What the API says about jobs and about itself, in the words that its clients know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.core.ledger import Job, Jobs, State
from app.core.ledger.job import remaining
from app.core.ledger.totals import Totals
from app.core.pipelines import ChoiceOption, NumberOption
from app.core.service import Service
from app.knee.form import labels, models, ordered
from app.knee.scan import SUFFIXES

HOUR = 3600.0  # seconds
EXPIRED = "The time for which this job's result was kept is over: its files were deleted."


def accepted(jobs: Jobs, job: Job) -> dict[str, Any]:
    """The answer to an upload."""
    position = jobs.position(job)
    return {
        "job_id": job.id,
        "status": "queued",
        "queue_position": position,
        "estimated_wait_seconds": round(position * jobs.mean(job.queue)),
        "message": f"Your scan is number {position} in the queue.",
    }


def _queued(jobs: Jobs, job: Job) -> dict[str, Any]:
    position = jobs.position(job)
    wait = round(position * jobs.mean(job.queue))
    told = {"status": "queued", "queue_position": position, "estimated_wait": wait, "estimated_wait_seconds": wait}
    words = jobs.waits_for(job.queue)
    return told | ({"message": words} if words else {})


def _processing(jobs: Jobs, job: Job) -> dict[str, Any]:
    elapsed = jobs.elapsed(job)
    left = round(remaining(elapsed, job.progress, jobs.mean(job.queue)))
    return {
        "status": "processing",
        "progress_percent": round(job.progress),
        "current_step": job.step,
        "total_steps": job.steps,
        "step_name": job.step_name or "",
        "elapsed": round(elapsed, 1),
        "elapsed_seconds": round(elapsed),
        "estimated_remaining": left,
        "estimated_remaining_seconds": left,
    }


def _complete(_jobs: Jobs, job: Job) -> dict[str, Any]:
    return {
        "status": "complete",
        "download_url": f"/download/{job.id}",
        "result_size_bytes": job.result_size,
        "processing_time": round(job.duration or 0.0, 1),
        "processing_time_seconds": round(job.duration or 0.0),
        "summary": job.summary or {},
    }


def _error(_jobs: Jobs, job: Job) -> dict[str, Any]:
    if job.cancel_requested:
        return {"status": "error", "error_message": "The job was cancelled.", "error_code": "CANCELLED"}
    return {"status": "error", "error_message": job.error_message, "error_code": job.error_code}


_ANSWERS = {
    State.QUEUED: _queued,
    State.RUNNING: _processing,
    State.DONE: _complete,
    State.FAILED: _error,
    State.CANCELLED: _error,
}


def status(jobs: Jobs, job: Job, start_of: Callable[[str], str | None] = lambda _: None) -> dict[str, Any]:
    """The answer to a question about a job. `start_of` says what a queue waits for whose worker was asleep."""
    # A cancelled job's worker lets it go within seconds, and nothing else can come of it.
    state = State.CANCELLED if job.cancel_requested else State(job.state)
    if job.expired_wall is not None:
        return {"job_id": job.id, "status": "error", "error_message": EXPIRED, "error_code": "EXPIRED"}
    told = {"job_id": job.id, **_ANSWERS[state](jobs, job)}
    if state == State.QUEUED and (words := start_of(job.queue)):
        told["message"] = words
    return told


def offer(service: Service) -> dict[str, Any]:
    """What the form may ask for, all of it from the pipelines' own data."""
    pipelines = ordered(service.pipelines)
    merged = {name: option for pipeline in reversed(pipelines.values()) for name, option in pipeline.options.items()}
    nsm = merged.get("nsm_type")
    offered = models(service.pipelines)
    numbers = {name: option for name, option in merged.items() if isinstance(option, NumberOption)}
    return {
        "segmentation_models": list(offered),
        "nsm_types": list(nsm.choices) if isinstance(nsm, ChoiceOption) else [],
        "defaults": {name: option.default for name, option in merged.items()},
        "ranges": {name: {"min": option.minimum, "max": option.maximum} for name, option in numbers.items()},
        "model_labels": labels(service.pipelines),
        "pipelines": [
            {
                "name": name,
                "title": pipeline.title,
                "options": {key: option.model_dump() for key, option in pipeline.options.items()},
            }
            for name, pipeline in pipelines.items()
        ],
        "files": {"suffixes": list(SUFFIXES), "limit_bytes": service.settings.upload_limit},
    }


def stats(sums: Totals, mean: float, uptime: float) -> dict[str, Any]:
    """How the site is used; `mean` and `uptime` in seconds."""
    return {
        "total_jobs_processed": sums.done,
        "total_jobs_today": sums.done_today,
        "total_jobs_failed": sums.failed,
        "unique_users": sums.users,
        "average_processing_time_seconds": round(mean),
        "jobs_in_queue": sums.waiting,
        "jobs_running": sums.running,
        "uptime_hours": round(uptime / HOUR, 2),
    }
