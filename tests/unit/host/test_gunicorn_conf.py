"""A worker that is told to end serves every connection that it has accepted, whenever the signal comes."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from uvicorn.config import Config

from farrier_host.runtime.gunicorn_conf import PatientServer, naming

REQUEST = b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"

pytestmark = pytest.mark.timeout(20)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what came."""
    if scope["type"] == "http":
        message = await receive()
        body = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


async def started(path: Path, signs: list[float]) -> tuple[PatientServer, socket.socket]:
    """A server as in a worker, up to the loop that waits for the signal."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    async def notify() -> None:
        signs.append(asyncio.get_running_loop().time())

    config = Config(app, log_config=None, callback_notify=notify, timeout_notify=1)
    config.load()
    server = PatientServer(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup([listener])
    return server, listener


async def turned(turns: int) -> None:
    """Let the loop turn."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def asked(client: socket.socket) -> bytes:
    """Everything that is answered to a request that only comes now."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, REQUEST)
    answer = b""
    while part := await loop.sock_recv(client, 4096):
        answer += part
    return answer


# Turn 1: asyncio has accepted; 2: it makes a connection of it, which an early close would drop; 10: long there.
@pytest.mark.parametrize("turns", [1, 2, 3, 10])
def test_an_accepted_connection_is_served_though_its_request_comes_after_the_signal(turns: int, tmp_path: Path) -> None:
    async def scene() -> bytes:
        server, listener = await started(tmp_path / "web.sock", [])
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            client.connect(str(tmp_path / "web.sock"))
            await turned(turns)
            end = asyncio.create_task(server.shutdown([listener]))
            await asyncio.sleep(0.1)
            answer = await asyncio.wait_for(asked(client), 5)
            await asyncio.wait_for(end, 5)
            return answer

    answer = asyncio.run(scene())
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"hello" in answer


def test_a_connection_that_nobody_accepted_waits_for_the_next_process(tmp_path: Path) -> None:
    async def scene() -> tuple[bytes, bytes]:
        server, listener = await started(tmp_path / "web.sock", [])
        held = listener.dup()  # as systemd holds it
        end = asyncio.create_task(server.shutdown([listener]))
        await asyncio.sleep(0)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "web.sock"))
            client.sendall(REQUEST)
            await asyncio.wait_for(end, 5)
            held.settimeout(1)
            connection, _ = held.accept()
            held.close()
            return connection.recv(4096), REQUEST

    received, sent = asyncio.run(scene())
    assert received == sent


def test_gunicorn_sees_signs_of_life_while_the_last_request_goes_on(tmp_path: Path) -> None:
    async def scene() -> list[float]:
        signs: list[float] = []
        server, listener = await started(tmp_path / "web.sock", signs)
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            client.connect(str(tmp_path / "web.sock"))
            await asyncio.get_running_loop().sock_sendall(client, REQUEST[:-1])
            await turned(10)
            end = asyncio.create_task(server.shutdown([listener]))
            async with asyncio.timeout(5):
                while len(signs) < 2:
                    await asyncio.sleep(0.02)
            await asyncio.get_running_loop().sock_sendall(client, REQUEST[-1:])
            await asyncio.wait_for(end, 5)
        return signs

    assert len(asyncio.run(scene())) >= 2


def test_signs_of_life_come_each_second_whatever_the_wall_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> list[float]:
        signs: list[float] = []
        server, listener = await started(tmp_path / "web.sock", signs)
        turning = asyncio.create_task(server.main_loop())
        await asyncio.sleep(0.3)
        signs.clear()
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now - 3600)  # uvicorn's own sign waits for an hour now
        await asyncio.sleep(1.5)
        server.should_exit = True
        await turning
        await server.shutdown([listener])
        return signs

    assert len(asyncio.run(scene())) >= 1


def test_a_worker_names_itself_to_a_probe_alone() -> None:
    async def headers(*request: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        said: list[Any] = []

        async def send(message: Any) -> None:
            said.append(message)

        async def receive() -> Any:
            return {"body": b""}

        await naming(app, "4711")({"type": "http", "headers": list(request)}, receive, send)
        found: list[tuple[bytes, bytes]] = said[0]["headers"]
        return found

    assert asyncio.run(headers((b"x-farrier-probe", b"1"))) == [(b"x-farrier-worker", b"4711")]
    assert asyncio.run(headers()) == []
