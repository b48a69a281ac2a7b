"""An HTTP/1.1 client that is light and hides nothing: it knows how many bytes it had sent, and what it asked again.

That is, as browsers and curl do (RFC 9112, 9.3.1), a GET on a kept connection that the server closed without a byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

_LIMIT = 60.0  # seconds for one request besides what its body takes
_LATE = 1.0  # seconds in which an answer may still come when our sending failed


class Lost(Exception):
    """A request without a whole and right answer. The text says what came instead."""


class Closed(Lost):
    """A kept connection was closed, and nothing of an answer had come."""


@dataclass
class Connection:
    """One connection; `used` when it has served a request before."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used: bool = False

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of an answer. Raises Lost at the connection's end."""
        try:
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except (asyncio.IncompleteReadError, OSError) as error:
            is_closed = self.used and not getattr(error, "partial", b"")
            raise (Closed if is_closed else Lost)(f"no answer: {error!r}") from None
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        return int(lines[0].split(" ")[1]), headers

    async def answer(self) -> bytes:
        """The body of an answer that must be 200. Raises Lost."""
        status, headers = await self.head()
        try:
            body = await self._body(headers)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise Lost(f"{status}, and its body was cut: {error!r}") from None
        if status != 200:
            raise Lost(f"{status} {body[:100].decode('utf-8', 'replace')}".rstrip())
        return body

    async def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await self.reader.readexactly(int(headers.get("content-length", "0")))
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += (await self.reader.readexactly(size + 2))[:size]
        await self.reader.readuntil(b"\r\n")
        return body


@dataclass
class Client:
    """Requests to one front door, over connections that are kept and used again."""

    address: str
    tls: ssl.SSLContext | None
    port: int = 443
    kept: list[Connection] = field(default_factory=list)
    again: list[float] = field(default_factory=list)  # when a GET was asked a second time, in seconds since 1970

    async def get(self, path: str) -> bytes:
        """A GET, asked again on a new connection where a kept one was closed under it. Raises Lost."""
        try:
            return await self._once(self._head("GET", path), None)
        except Closed:
            self.again.append(time.time())
            return await self._once(self._head("GET", path), None, fresh=True)

    async def post(self, path: str, body: bytes, *, chunked: bool) -> bytes:
        """A small POST in one piece or in chunks. Raises Lost."""
        if chunked:
            half = len(body) // 2
            parts = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:]))
            return await self._once(self._head("POST", path, "Transfer-Encoding: chunked") + parts + b"0\r\n\r\n", None)
        return await self._once(self._head("POST", path, f"Content-Length: {len(body)}") + body, None)

    async def upload(self, path: str, parts: AsyncIterator[bytes], size: int) -> bytes:
        """A long POST on a connection of its own. Raises Lost, with the byte at which it was cut."""
        return await self._once(self._head("POST", path, f"Content-Length: {size}"), parts)

    async def close(self) -> None:
        """Close what is kept."""
        for connection in self.kept:
            connection.writer.close()
        self.kept.clear()

    def _head(self, method: str, path: str, *more: str) -> bytes:
        return "\r\n".join((f"{method} {path} HTTP/1.1", f"Host: {self.address}", *more, "", "")).encode()

    async def _once(self, first: bytes, parts: AsyncIterator[bytes] | None, *, fresh: bool = False) -> bytes:
        connection = await self._connection(fresh=fresh or parts is not None)
        try:
            connection.writer.write(first)
            if parts is not None:
                await self._send(connection, parts)
            async with asyncio.timeout(_LIMIT):
                body = await connection.answer()
        except BaseException as error:
            connection.writer.close()
            if isinstance(error, TimeoutError):
                raise Lost(f"no answer within {_LIMIT:g} s") from None
            raise
        connection.used = True
        self.kept.append(connection)
        return body

    async def _connection(self, *, fresh: bool) -> Connection:
        while self.kept and not fresh:
            connection = self.kept.pop()
            if not connection.reader.at_eof() and not connection.writer.is_closing():
                return connection
            connection.writer.close()
        try:
            async with asyncio.timeout(_LIMIT):
                reader, writer = await asyncio.open_connection(self.address, self.port, ssl=self.tls)
        except (OSError, TimeoutError) as error:
            raise Lost(f"no connection: {error!r}") from None
        return Connection(reader, writer)

    async def _send(self, connection: Connection, parts: AsyncIterator[bytes]) -> None:
        sent = 0
        try:
            async for part in parts:
                connection.writer.write(part)
                await connection.writer.drain()
                sent += len(part)
        except OSError as error:
            said = ""
            with contextlib.suppress(Lost, TimeoutError):
                async with asyncio.timeout(_LATE):
                    said = f", answered {(await connection.head())[0]}"
            raise Lost(f"cut after {sent} bytes{said}: {error!r}") from None
