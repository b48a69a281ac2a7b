"""Submitting a job again, as a new one, from the original that is still there."""

from __future__ import annotations

import os
import shutil

from app.core.ledger import Job, NewJob, State
from app.core.service import Service
from app.core.storage import new_job_id

_REASONS = {
    State.QUEUED: "it waits still",
    State.RUNNING: "it runs",
    State.DONE: "it is done; its user can download the result",
}


class NotRetried(Exception):
    """The job cannot be submitted again; the message says why, and what to do."""


def retry(service: Service, job: Job) -> Job:
    """Submit a failed or cancelled job anew; the old one stays as it is. Raises NotRetried."""
    if job.verify:
        raise NotRetried("it is a deploy's own job; `farrier-release verify` sends another one")
    if job.state in _REASONS:
        raise NotRetried(_REASONS[State(job.state)])
    source = service.storage.input(job.id)
    if source is None:
        raise NotRetried("its original was deleted; the user has to submit it again")
    fresh = new_job_id()
    try:
        part = service.storage.begin_upload(fresh)
        try:
            os.link(source, part)
        except OSError:
            shutil.copyfile(source, part)
        service.storage.accept_upload(fresh, source.name.removeprefix("input"))
        submitted = service.jobs.submit(_again(service, job, fresh))
    except BaseException:
        service.storage.drop(fresh)
        raise
    if service.send(submitted.id, submitted.queue):
        service.jobs.mark_sent(submitted.id)
    return submitted


def _again(service: Service, job: Job, fresh: str) -> NewJob:
    return NewJob(
        id=fresh,
        queue=job.queue,
        pipeline=job.pipeline,
        input_name=job.input_name,
        options=job.options,
        release=service.settings.release,
        keep_input=job.keep_input,
        email=job.email,
        client=job.client,
    )
