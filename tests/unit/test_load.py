"""The load's client sees what goes wrong: an instrument that finds nothing must be able to find something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.load.http1 import Client, Lost
from tests.load.traffic import Rates, Traffic

pytestmark = pytest.mark.timeout(20)


async def asked(answer: bytes, what: str) -> str:
    """What the client says of an answer, after which the server closes; empty when it was right."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x" * 100_000
            await asyncio.sleep(0)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        client = Client("127.0.0.1", None, server.sockets[0].getsockname()[1])
        ask: dict[str, Callable[[], Awaitable[object]]] = {
            "get": lambda: client.get("/"),
            "post": lambda: Traffic(client, "", Rates()).post(0),
            "upload": lambda: client.upload("/", parts(), 100_000_000),
        }
        try:
            await ask[what]()
        except Lost as lost:
            return str(lost)
        finally:
            await client.close()
        return ""


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", ""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", ""),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "502"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "200, and its body was cut"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", "200, and its body was cut"),
        (b"", "no answer"),
    ],
)
def test_only_a_whole_200_is_no_failure(answer: bytes, said: str) -> None:
    error = asyncio.run(asked(answer, "get"))
    assert error.startswith(said)
    assert bool(error) == bool(said)


def test_a_200_with_another_body_is_a_failure() -> None:
    whole = b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"bytes":"%d"}'
    assert asyncio.run(asked(whole % 2000, "post")) == ""
    assert "another body" in asyncio.run(asked(whole % 1999, "post"))
    assert "another body" in asyncio.run(asked(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "post"))


def test_an_upload_that_is_cut_says_at_which_byte() -> None:
    assert asyncio.run(asked(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "upload")).startswith(
        "cut after"
    )
