"""The route by which a job is followed: server-sent events (docs/reference/events.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

import redis.asyncio
from fastapi import FastAPI, Header, HTTPException, Response
from fastapi.responses import StreamingResponse
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from starlette.types import Receive, Scope, Send

from app.core.ending import Ending
from app.core.events import redis_options
from app.core.follow import Follower, Followers, NoSuchJob, NotNow, TooMany
from app.core.ledger import Job
from app.core.ledger.watch import look
from app.core.openapi import problems
from app.core.service import Service
from app.core.settings import Settings
from app.core.topic import END

BUSY = "Too many people follow their jobs here just now; ask /status/{job_id} instead."
EVENT = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "id": {"type": "string", "description": "Send it as Last-Event-ID when you come again."},
        "event": {"type": "string", "const": "message"},
        "data": {"type": "string", "description": "JSON, the same that /status/{job_id} answers."},
    },
}
RESPONSES: dict[int | str, dict[str, Any]] = problems(404, 500, 503) | {
    200: {"description": "Events until the job ends.", "content": {"text/event-stream": {"schema": EVENT}}},
    204: {"description": "The job has ended and you had its last event; do not come again."},
}
HEADERS = {"X-Accel-Buffering": "no"}  # for a proxy in front that would wait for the end (nginx); others know the type


class EventStream(StreamingResponse):
    """The answer to one follower, who is let go however it ends."""

    media_type = "text/event-stream"

    def __init__(self, follower: Follower) -> None:
        super().__init__(follower.events(), headers=HEADERS)
        self._follower = follower

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until there is nothing more to tell, or the client has gone."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._follower.leave()


def _listener(settings: Settings) -> redis.asyncio.Redis:
    # Who follows wants to know at once when Redis is gone, and no time-out: it may say nothing for hours.
    once = Retry(NoBackoff(), 0)
    return redis.asyncio.Redis(**redis_options(settings), socket_timeout=None, retry=once)


def _place(last_event_id: str | None) -> int | None:
    """The place that a browser had last; None for one that comes for the first time, or says nonsense."""
    text = last_event_id or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else None


def add_events(app: FastAPI, service: Service, ending: Ending, answer: Callable[[Job], Mapping[str, Any]]) -> None:
    """Add `GET /status/{job_id}/events`; `answer` says a job as /status does."""
    followers = Followers(
        look=partial(look, service.database, service.clock),
        answer=answer,
        listener=partial(_listener, service.settings),
        ending=ending,
        limit=service.settings.followers,
    )

    @app.get("/status/{job_id}/events", response_class=StreamingResponse, responses=RESPONSES)
    async def events(job_id: str, last_event_id: Annotated[str | None, Header()] = None) -> Response:
        """Follow a job: its state now and each change, as server-sent events, until it ends."""
        if last_event_id == END:
            return Response(status_code=204)
        try:
            return EventStream(await followers.follow(job_id, _place(last_event_id)))
        except NoSuchJob:
            raise HTTPException(404, "There is no such job (any more).") from None
        except TooMany:
            raise HTTPException(503, BUSY, {"Retry-After": "5"}) from None
        except NotNow:
            raise HTTPException(503, "The site's ledger does not answer just now.", {"Retry-After": "5"}) from None
