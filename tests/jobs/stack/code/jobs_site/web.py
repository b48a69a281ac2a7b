"""Takes jobs in by the same three steps as every application: on disk for good, into the ledger, a worker woken."""

from __future__ import annotations

import os
from typing import Any

from anyio import to_thread
from fastapi import FastAPI, HTTPException, Request

from app.core.ledger import Job, NewJob
from app.core.service import Service, await_service
from app.core.storage import new_job_id
from app.core.web import create_web


def create_app() -> FastAPI:
    """`POST /submit/{pipeline}`: the body is the job's input; `GET /status/{id}`: what the ledger says."""
    service = await_service(os.environ)
    app = create_web("Jobs", service, _told)

    @app.post("/submit/{pipeline}")
    async def submit(pipeline: str, request: Request) -> dict[str, str]:
        """Accept a job."""
        if pipeline not in service.pipelines:
            raise HTTPException(404, f"There is no pipeline {pipeline}.")
        return {"job_id": await to_thread.run_sync(_accept, service, pipeline, await request.body())}

    @app.get("/status/{job_id}")
    def status(job_id: str) -> dict[str, Any]:
        """The job's state."""
        job = service.jobs.find(job_id)
        if job is None:
            raise HTTPException(404, "There is no such job.")
        return _told(job)

    return app


def _told(job: Job) -> dict[str, Any]:
    return {"state": job.state, "attempt": job.attempt, "error": job.error_message}


def _accept(service: Service, pipeline: str, body: bytes) -> str:
    job_id = new_job_id()
    try:
        service.storage.begin_upload(job_id).write_bytes(body)
        service.storage.accept_upload(job_id, ".txt")
        job = service.jobs.submit(NewJob(job_id, service.settings.queues[0], pipeline, "input.txt", {}))
    except BaseException:
        service.storage.drop(job_id)
        raise
    if service.send(job.id, job.queue):
        service.jobs.mark_sent(job.id)
    return job.id
