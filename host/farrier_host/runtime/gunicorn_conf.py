"""The configuration of gunicorn for every `asgi` service: workers that name themselves, and that part patiently."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gunicorn.arbiter import Arbiter
from uvicorn.server import Server
from uvicorn_worker import UvicornWorker

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

PATIENCE = 1.0  # seconds that a connection has for its first request once the worker is told to end
_LOOK = 0.02
_SIGN = 1.0  # seconds between signs of life to gunicorn


class PatientServer(Server):
    """Shows gunicorn each second that it lives, and at the end serves every connection that it has accepted.

    Uvicorn's own sign depends on the wall clock: one set back by an hour would get every worker replaced.

    Uvicorn closes a connection at once on which no request has come yet. One that was accepted in the milliseconds
    before the signal still carries a request, and a proxy must not send a POST a second time.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve; from here on gunicorn is shown signs of life, until the last request has ended."""
        self._signs = asyncio.create_task(self._show_life())
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, wait for the requests of what was accepted, then end as uvicorn does."""
        for listener in sockets or []:
            # Not closed yet: asyncio drops what it has accepted and not yet made a connection of when it finds its
            # server closed, so that turn of the loop comes first.
            asyncio.get_running_loop().remove_reader(listener.fileno())
        deadline = asyncio.get_running_loop().time() + PATIENCE
        await asyncio.sleep(_LOOK)
        while asyncio.get_running_loop().time() < deadline and self._awaits_request():
            await asyncio.sleep(_LOOK)
        await super().shutdown(sockets)
        self._signs.cancel()

    async def _show_life(self) -> None:
        while self.config.callback_notify is not None:
            await self.config.callback_notify()
            await asyncio.sleep(_SIGN)

    def _awaits_request(self) -> bool:
        return any(getattr(each, "cycle", each) is None for each in self.server_state.connections)


class PatientWorker(UvicornWorker):
    """Uvicorn's worker, with a server that parts patiently."""

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        server = PatientServer(config=self.config)
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)


worker_class = PatientWorker


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
