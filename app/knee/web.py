"""The knee site: upload a scan, follow its job, download the result."""

from __future__ import annotations

import hmac
import os
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from app.core.ledger import Job, State
from app.core.ledger.lifetime import Lifetime
from app.core.ledger.totals import totals
from app.core.openapi import leads_to, problems, upload_body
from app.core.service import Service, await_service
from app.core.web import create_web
from app.knee.answers import EXPIRED, offer, stats, status
from app.knee.form import PIPELINE, form_schema
from app.knee.schema import Accepted, Models, Stats, Status
from app.knee.upload import receive

STATIC = Path(__file__).parent / "static"
VERIFY = "x-farrier-verify"
Token = Annotated[str | None, Header(alias=VERIFY, description="For the deploy's own test jobs only.")]
NEXT: dict[int | str, dict[str, Any]] = {
    201: {"links": leads_to("job_id", status="status", download="download", cancel="cancel")}
}
ZIP: dict[int | str, dict[str, Any]] = {
    200: {"description": "The zip.", "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
}


def is_verify(service: Service, token: str | None) -> bool:
    """Whether a request is one of the deploy's verify steps; raises HTTPException 403 for a wrong token."""
    if token is None:
        return False
    if not hmac.compare_digest(token.encode(), service.settings.verify_token.encode()):
        raise HTTPException(403, f"The header {VERIFY} does not hold this site's token.")
    return True


def _find(service: Service, job_id: str) -> Job:
    job = service.jobs.find(job_id.replace("-", ""))  # links of a site that was taken over have a UUID's hyphens
    if job is None:
        raise HTTPException(404, "There is no such job (any more).")
    return job


def _add_upload(app: FastAPI, service: Service) -> None:
    body = upload_body(form_schema(service.pipelines), "knee.nii.gz")

    @app.post(
        "/upload",
        status_code=201,
        response_model=Accepted,
        responses=NEXT | problems(400, 403, 413, 429, 500, 503, 507),
        openapi_extra=body,
    )
    async def upload(request: Request, token: Token = None) -> dict[str, Any]:
        """Submit a scan. The fields beside the file are the options of the pipelines and the site's own."""
        return await receive(service, request, verify=is_verify(service, token))


def _add_jobs(app: FastAPI, service: Service) -> None:
    @app.get(
        "/status/{job_id}",
        operation_id="status",
        response_model=Status,
        response_model_exclude_unset=True,
        responses=problems(404, 500, 503),
    )
    def show(job_id: str) -> dict[str, Any]:
        """How far a job is."""
        return status(service.jobs, _find(service, job_id), service.start_of)

    @app.get(
        "/download/{job_id}",
        operation_id="download",
        response_class=FileResponse,
        responses=ZIP | problems(400, 404, 500, 503),
    )
    def download(job_id: str) -> FileResponse:
        """The result of a job, as a zip."""
        job = _find(service, job_id)
        if job.expired_wall is not None:
            raise HTTPException(404, EXPIRED)
        if job.state != State.DONE:
            raise HTTPException(400, "The job has no result (yet); ask /status for its state.")
        path = service.storage.result(job.id, job.attempt)
        if not path.is_file():
            raise HTTPException(404, "The result of this job was deleted.")
        return FileResponse(path, media_type="application/zip", filename=f"{PIPELINE}-{job.id[:8]}.zip")


def _add_ends(app: FastAPI, service: Service) -> None:
    @app.post("/cancel/{job_id}", operation_id="cancel", response_model=Status, responses=problems(404, 409, 500, 503))
    def cancel(job_id: str) -> dict[str, Any]:
        """End a job that waits or runs; 409 where it has ended already."""
        wanted = service.jobs.cancel(job_id)
        job = _find(service, job_id)
        if not wanted and job.state != State.CANCELLED:
            raise HTTPException(409, f"The job has ended already ({job.state}), so it cannot be cancelled.")
        return status(service.jobs, job)

    @app.delete("/jobs/{job_id}", status_code=204, responses=problems(403, 404, 409, 500, 503))
    def delete(job_id: str, token: Token = None) -> Response:
        """Delete all files of a job that has ended. Whoever has its link may do so; /status says EXPIRED then."""
        job = _find(service, job_id)
        if is_verify(service, token) and job.verify:
            service.jobs.delete(job.id)
            service.storage.drop(job.id)
        elif job.ended_wall is None:
            raise HTTPException(409, "The job has not ended; cancel it first.")
        else:
            service.storage.drop(job.id)
            Lifetime(service.database, service.clock).forget([job.id])
        return Response(status_code=204)


def _add_offer(app: FastAPI, service: Service) -> None:
    began = time.monotonic()

    @app.get("/models", response_model=Models)
    def show_models() -> dict[str, Any]:
        """What an upload may ask for: models, options, bounds, kinds of files."""
        return offer(service)

    @app.get("/stats", response_model=Stats, responses=problems(500, 503))
    def show_stats() -> dict[str, Any]:
        """How the site is used."""
        midnight = datetime.combine(datetime.now(UTC), datetime.min.time(), UTC)
        mean = service.jobs.mean(service.settings.queues[0])
        return stats(totals(service.database, midnight.timestamp()), mean, time.monotonic() - began)


def _add_page(app: FastAPI) -> None:
    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page() -> FileResponse:
        """The page for people."""
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/static", StaticFiles(directory=STATIC), name="static")


def create_app() -> FastAPI:
    """The web application, with settings from the environment; raises where they or the pipelines are wrong."""
    service = await_service(os.environ)
    if PIPELINE not in service.pipelines:
        raise ValueError(f"{service.settings.pipelines}: there is no pipeline {PIPELINE!r}, which this site needs")
    app = create_web("Knee MRI analysis", service, partial(status, service.jobs, start_of=service.start_of))
    _add_upload(app, service)
    _add_jobs(app, service)
    _add_ends(app, service)
    _add_offer(app, service)
    _add_page(app)
    return app
