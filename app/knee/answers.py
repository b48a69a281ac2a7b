"""What the API says about a job, in the words that its clients know."""

from __future__ import annotations

from typing import Any

from app.core.ledger import Job, Jobs, State
from app.core.ledger.job import remaining


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
    return {"status": "queued", "queue_position": position, "estimated_wait": round(position * jobs.mean(job.queue))}


def _processing(jobs: Jobs, job: Job) -> dict[str, Any]:
    elapsed = jobs.elapsed(job)
    return {
        "status": "processing",
        "progress_percent": round(job.progress),
        "current_step": job.step,
        "total_steps": job.steps,
        "step_name": job.step_name or "",
        "elapsed": round(elapsed, 1),
        "estimated_remaining": round(remaining(elapsed, job.progress, jobs.mean(job.queue))),
    }


def _complete(_jobs: Jobs, job: Job) -> dict[str, Any]:
    return {
        "status": "complete",
        "download_url": f"/download/{job.id}",
        "result_size_bytes": job.result_size,
        "processing_time": round(job.duration or 0.0, 1),
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


def status(jobs: Jobs, job: Job) -> dict[str, Any]:
    """The answer to a question about a job."""
    # A cancelled job's worker lets it go within seconds, and nothing else can come of it.
    state = State.CANCELLED if job.cancel_requested else State(job.state)
    return {"job_id": job.id, **_ANSWERS[state](jobs, job)}
