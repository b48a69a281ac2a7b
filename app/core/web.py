"""What the web process of every application has: health routes, answers to trouble, security headers, the reaper."""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import redis
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.docs import add_docs
from app.core.ending import Ending
from app.core.gpu.health import gpu_checks, gpu_facts
from app.core.health import (
    OK,
    Check,
    Readiness,
    ask,
    cleanup_check,
    disk_check,
    jobs_check,
    ledger_check,
    redis_check,
    worker_checks,
)
from app.core.ledger import Election, Job
from app.core.ledger.lifetime import Lifetime
from app.core.metrics import add_metrics
from app.core.openapi import Health, Live, Ready, describe, either
from app.core.privacy import quiet_logs
from app.core.service import Service
from app.core.stream import add_events

log = logging.getLogger(__name__)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address of a job is its key
    "Cross-Origin-Opener-Policy": "same-origin",
}


class SecurityHeaders:
    """Adds HEADERS to every answer, and forbids caches to keep what is a job's."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def _later(status: int, text: str, seconds: int) -> JSONResponse:
    return JSONResponse({"detail": text}, status, {"Retry-After": str(seconds)})


async def _on_os_error(request: Request, error: Exception) -> Response:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _later(507, "The site's disk is full. Please try again later.", 600)
    log.error("%s %s", request.method, request.url.path, exc_info=error)
    return JSONResponse({"detail": "The site failed at this request; its log has the reason."}, 500)


async def _on_ledger_error(request: Request, error: Exception) -> Response:
    log.error("%s %s: the ledger: %s", request.method, request.url.path, error)
    return _later(503, "The site cannot write to its ledger just now. Please try again in a minute.", 60)


async def _on_redis_error(request: Request, error: Exception) -> Response:
    log.error("%s %s: redis: %s", request.method, request.url.path, error)
    return _later(503, "The site's queue does not answer just now. Please try again in a minute.", 60)


def checks(service: Service) -> dict[str, Check]:
    """Everything that must be there for this service to be ready."""
    settings = service.settings
    lifetime = Lifetime(service.database, service.clock)
    timer = settings.cleanup_timer
    cleanup = {"cleanup": cleanup_check(lifetime, timer, settings.cleanup_patience)} if timer else {}
    return {
        "redis": redis_check(settings),
        "ledger": ledger_check(Election(service.database, service.clock, "health")),
        **worker_checks(service.is_served, settings.queues),
        "jobs": jobs_check(service.jobs, service.pipelines),
        "disk": disk_check(service.storage, settings.disk_reserve),
        **cleanup,
        **gpu_checks(settings.gpu_run, settings.stack_gpus),
    }


def summary(readiness: Readiness, now: datetime) -> dict[str, Any]:
    """The short form of the readiness that clients of /health know."""
    workers = [outcome for name, outcome in readiness.checks.items() if name.startswith("worker:")]
    gpus = [outcome == OK for name, outcome in readiness.checks.items() if name.startswith("gpu:")]
    missing = [f"{name}: {readiness.checks[name]}" for name in readiness.missing]
    return {
        "status": "unhealthy" if missing else "healthy",
        "redis": "connected" if readiness.checks["redis"] == OK else "disconnected",
        "worker": "available" if all(outcome == OK for outcome in workers) else "unavailable",
        "gpu": "not used" if not gpus else "available" if all(gpus) else "unavailable",
        "timestamp": now.isoformat(),
        "error": "; ".join(missing) or None,
    }


def _add_health(app: FastAPI, service: Service) -> None:
    tests = checks(service)

    @app.get("/health/live", response_model=Live)
    async def live() -> dict[str, str]:
        """Say that the process answers; nothing else is asked."""
        return {"status": "live"}

    @app.get("/health/ready", responses=either(Ready))
    def ready() -> JSONResponse:
        """Say whether all that the site needs is there; 503 names what is missing."""
        readiness = ask(tests)
        facts = gpu_facts(service.settings.gpu_run, service.settings.stack_gpus)
        return JSONResponse(readiness.body() | {"gpus": facts}, 503 if readiness.missing else 200)

    @app.get("/health", responses=either(Health))
    def health() -> JSONResponse:
        """The same in short."""
        readiness = ask(tests)
        return JSONResponse(summary(readiness, datetime.now(UTC)), 503 if readiness.missing else 200)


def create_web(title: str, service: Service, answer: Callable[[Job], Mapping[str, Any]] | None = None) -> FastAPI:
    """A web application with all that every application shares; its own routes are added to it.

    `answer` says a job as the application's users know it; with it, jobs can be followed.
    """
    ending = Ending(service.settings.socket, service.settings.live_socket)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        reaper = service.reaper()
        reaper.start()
        with ending.watch():
            yield
        reaper.stop()

    quiet_logs(unless=service.settings.pii_logging)
    # FastAPI's own page loads scripts from elsewhere, which the policy forbids; `add_docs` serves ours.
    app = FastAPI(title=title, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(SecurityHeaders)
    app.add_exception_handler(OSError, _on_os_error)
    app.add_exception_handler(OperationalError, _on_ledger_error)
    app.add_exception_handler(redis.RedisError, _on_redis_error)
    _add_health(app, service)
    if answer:
        add_events(app, service, ending, answer)
    add_metrics(app, service)
    add_docs(app, POLICY)
    describe(app)
    return app
