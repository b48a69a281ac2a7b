"""From a form to an accepted job: received, looked at, put on disk for good, written into the ledger."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from anyio import to_thread
from fastapi import HTTPException, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import ClientDisconnect

from app.core.archive import BadArchive
from app.core.ledger import Job, NewJob
from app.core.multipart import Form, Limits, check_length, disk_full, read_form
from app.core.pipelines import OptionError
from app.core.rate import address_of, check_rate, client_hash
from app.core.service import Service
from app.core.storage import new_job_id
from app.knee.answers import accepted
from app.knee.deidentify import CannotClean, clean_scan
from app.knee.form import read_wishes
from app.knee.scan import check_scan, suffix_of
from app.knee.volume import NotAScan

log = logging.getLogger(__name__)
LONGEST_NAME = 255  # characters of a file's name that are kept to show
UNPACKED = 4  # times the upload's limit that a scan may have unpacked


async def receive(service: Service, request: Request, *, verify: bool) -> Job:
    """Take in an upload; nothing of it stays when it is refused. Raises HTTPException that says why."""
    job_id = new_job_id()
    settings, storage = service.settings, service.storage
    client = None if verify else client_hash(address_of(request), settings.verify_token)
    if settings.rate_limit:
        await to_thread.run_sync(_check_rate, service, client)
    limits = Limits(settings.upload_limit, settings.disk_reserve)
    check_length(request.headers.get("content-length"), limits, storage.free())
    try:
        path = storage.begin_upload(job_id)
        form = await read_form(request.stream(), request.headers.get("content-type", ""), path, limits, storage)
        return await to_thread.run_sync(_accept, service, job_id, form, client)
    except ClientDisconnect as error:
        await to_thread.run_sync(storage.drop, job_id)
        raise HTTPException(400, "The upload was cut off.") from error
    except BaseException:
        storage.drop(job_id)
        raise


def _check_rate(service: Service, client: str | None) -> None:
    if client is not None:
        check_rate(service.database, client, service.settings.rate_limit, time.time())


def _clean(service: Service, path: Path, suffix: str) -> None:
    """Take out of the scan what says whose it is. Raises CannotClean, and HTTPException 507."""
    settings, storage = service.settings, service.storage

    def has_room() -> None:
        if storage.free() < settings.disk_reserve:
            raise disk_full()

    clean_scan(path, suffix, limit=UNPACKED * settings.upload_limit, has_room=has_room)


def _accept(service: Service, job_id: str, form: Form, client: str | None) -> Job:
    """Make a job of what was received; `client` is None for a verify job."""
    if form.file_name is None:
        raise HTTPException(400, "The form has no file; send the scan in the field `file`, with its file name.")
    try:
        suffix = suffix_of(form.file_name)
        if form.size == 0:
            raise NotAScan("The file is empty.")
        wishes = read_wishes(service.pipelines, form.fields)
        check_scan(service.storage.begun_upload(job_id), suffix, service.settings.upload_limit)
        _clean(service, service.storage.begun_upload(job_id), suffix)
    except (OptionError, NotAScan, BadArchive, CannotClean) as error:
        raise HTTPException(400, str(error)) from error
    _check_rate(service, client)  # others of this client may have been accepted while this one came in
    service.storage.accept_upload(job_id, suffix)
    new = NewJob(
        id=job_id,
        queue=service.settings.queues[0],
        pipeline=wishes.pipeline,
        input_name=f"scan{suffix}",  # the user's own name for it stays in the browser
        options=wishes.options,
        verify=client is None,
        release=service.settings.release,
        keep_input=wishes.keep_input,
        email=wishes.email if service.settings.mail_timer else None,  # nobody else has a use for it
        client=client,
    )
    if service.settings.pii_logging:
        log.info("job %s: %s of %s", job_id, form.file_name, wishes.email or "nobody who says so")
    return service.jobs.submit(new, sent=True)


def announce(service: Service, job: Job) -> None:
    """Wake a worker. Where that fails the job stays queued, and the reaper tries again."""
    if service.send(job.id, job.queue):
        return
    try:
        service.jobs.mark_unsent(job.id)
    except SQLAlchemyError:  # the job is accepted; its message counts as lost, for which the reaper is there too
        log.warning("job %s: it could not be noted that no message was sent", job.id, exc_info=True)


def welcome(service: Service, job: Job) -> dict[str, Any]:
    """Wake a worker for an accepted job, and give the answer to its user."""
    announce(service, job)
    return accepted(service.jobs, job)
