"""Jobs in a workshop's ledger, as an upload makes them and a worker takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.core.ledger import Job, NewJob
from app.core.storage import new_job_id
from app.core.work import Workshop


def submit(
    workshop: Workshop,
    scan: bytes = b"scan",
    suffix: str = ".nii",
    pipeline: str = "knee",
    options: Mapping[str, Any] | None = None,
) -> str:
    """A job that waits in the queue `knee`; its id."""
    job_id = new_job_id()
    workshop.storage.begin_upload(job_id).write_bytes(scan)
    workshop.storage.accept_upload(job_id, suffix)
    workshop.jobs.submit(NewJob(job_id, "knee", pipeline, f"scan{suffix}", options or {}))
    return job_id


def claim(workshop: Workshop, owner: str = "me") -> Job:
    """The next job, for as long as the workshop's lease."""
    job = workshop.jobs.claim_next(["knee"], owner, workshop.lease)
    assert job is not None
    return job


def found(workshop: Workshop, job: Job) -> Job:
    """The job as it is now."""
    now = workshop.jobs.find(job.id)
    assert now is not None
    return now


def worked(workshop: Workshop, scan: bytes, suffix: str, pipeline: str, options: Mapping[str, Any]) -> Job:
    """A job that has ended."""
    submit(workshop, scan, suffix, pipeline, options)
    job = claim(workshop)
    workshop.work(job)
    return found(workshop, job)
