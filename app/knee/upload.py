"""From a form to an accepted job: received, looked at, put on disk for good, written into the ledger."""

from __future__ import annotations

from anyio import to_thread
from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from app.core.ledger import Job, NewJob
from app.core.multipart import Form, Limits, check_length, read_form
from app.core.pipelines import OptionError
from app.core.service import Service
from app.core.storage import new_job_id
from app.knee.nifti import NotAScan, check_scan

PIPELINE = "knee"
SUFFIXES = (".nii.gz", ".nii")
LATER = (".zip", ".dcm", ".nrrd")
LONGEST_NAME = 255  # characters of a file's name that are kept to show


def suffix_of(name: str) -> str:
    """The suffix of a file that the pipeline reads; raises HTTPException 400 for any other."""
    lower = name.lower()
    found = next((suffix for suffix in SUFFIXES if lower.endswith(suffix)), None)
    if found:
        return found
    if lower.endswith(LATER):
        raise HTTPException(400, "This site reads NIfTI only for now; please convert the scan, e.g. with dcm2niix.")
    raise HTTPException(400, "A scan must be a NIfTI file, named .nii or .nii.gz.")


async def receive(service: Service, request: Request, *, verify: bool) -> Job:
    """Take in an upload; nothing of it stays when it is refused. Raises HTTPException that says why."""
    job_id = new_job_id()
    settings, storage = service.settings, service.storage
    limits = Limits(settings.upload_limit, settings.disk_reserve)
    check_length(request.headers.get("content-length"), limits, storage.free())
    try:
        path = storage.begin_upload(job_id)
        form = await read_form(request.stream(), request.headers.get("content-type", ""), path, limits, storage)
        return await to_thread.run_sync(_accept, service, job_id, form, verify)
    except ClientDisconnect as error:
        await to_thread.run_sync(storage.drop, job_id)
        raise HTTPException(400, "The upload was cut off.") from error
    except BaseException:
        storage.drop(job_id)
        raise


def _accept(service: Service, job_id: str, form: Form, verify: bool) -> Job:
    if form.file_name is None:
        raise HTTPException(400, "The form has no file; send the scan in the field `file`.")
    suffix = suffix_of(form.file_name)
    if form.size == 0:
        raise HTTPException(400, "The file is empty.")
    try:
        options = service.pipelines[PIPELINE].parse_options(form.fields)
        check_scan(service.storage.begun_upload(job_id), packed=suffix == ".nii.gz")
    except (OptionError, NotAScan) as error:
        raise HTTPException(400, str(error)) from error
    service.storage.accept_upload(job_id, suffix)
    new = NewJob(
        id=job_id,
        queue=service.settings.queues[0],
        pipeline=PIPELINE,
        input_name=form.file_name[:LONGEST_NAME],
        options=options,
        verify=verify,
        release=service.settings.release,
    )
    return service.jobs.submit(new)


def announce(service: Service, job: Job) -> None:
    """Wake a worker. Where that fails the job stays queued, and the reaper tries again."""
    if service.send(job.id, job.queue):
        service.jobs.mark_sent(job.id)
