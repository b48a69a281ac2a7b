"""The configuration of gunicorn for every `asgi` service: a worker names itself to the guard, and to nobody else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


def post_worker_init(worker: Any) -> None:
    """Name the worker; gunicorn calls this when it has loaded the application."""
    worker.wsgi = naming(worker.wsgi, str(worker.pid))


def naming(application: Application, worker: str) -> Application:
    """`application`, with X-Farrier-Worker in its answers to requests that carry X-Farrier-Probe."""
    header = (b"x-farrier-worker", worker.encode())

    async def named(scope: Message, receive: Receive, send: Send) -> None:
        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), header]}
            await send(message)

        probed = any(name == b"x-farrier-probe" for name, _ in scope.get("headers", []))
        await application(scope, receive, send_named if probed else send)

    return named
