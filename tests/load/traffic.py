"""Steady load: every kind of request at its own pace, whatever becomes of those before it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.load import record
from tests.load.http1 import Client, Lost
from tests.load.record import Request

_PART = 256 * 1024
_BLOCK = os.urandom(_PART)
_SMALL = os.urandom(2000)
_OPEN = 300  # connections at the same time, besides uploads: a service that restarts lets them grow by 100 a second
_BEGIN = 0.005  # seconds between looks at the clock


@dataclass(frozen=True)
class Rates:
    """What is asked: per second, and the uploads that go on at the same time. MB are 10^6 bytes."""

    short: float = 100
    hello: float = 5
    slow: float = 2  # answered after 5 s
    posts: float = 0  # of 2,000 bytes
    uploads: int = 2  # at the same time, one after the other
    upload_mb: int = 200
    upload_mb_s: float = 20
    h2: bool = True  # besides: curl, with one connection for short requests, one for slow ones, one for uploads


@dataclass
class Traffic:
    """Load on one front door; `requests` grows as they end."""

    client: Client
    ca: str
    rates: Rates
    requests: list[Request] = field(default_factory=list)
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    open: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_OPEN))

    async def run(self) -> None:
        """Ask until `ending` is set; then wait for what is under way."""
        rates = self.rates
        size = rates.upload_mb * 10**6
        sent = await asyncio.to_thread(_digest, size)
        async with asyncio.TaskGroup() as group:
            paces = (
                (record.SHORT, rates.short, self._short),
                (record.HELLO, rates.hello, lambda _: self.client.get("/hello")),
                (record.SLOW, rates.slow, lambda _: self.client.get("/load/slow?seconds=5")),
                (record.POST, rates.posts, self.post),
            )
            for kind, rate, ask in paces:
                if rate:
                    group.create_task(self._paced(group, kind, rate, ask))
            for _ in range(rates.uploads):
                group.create_task(self._uploads(size, sent))
            if rates.h2:
                group.create_task(self._h2())
        await self.client.close()
        self.requests += [Request(record.AGAIN, moment, 0.0) for moment in self.client.again]

    async def _paced(
        self, group: asyncio.TaskGroup, kind: str, rate: float, ask: Callable[[int], Awaitable[object]]
    ) -> None:
        """Begin `rate` requests a second by the clock, so that a stall does not thin the load out."""
        begun, count = time.monotonic(), 0
        while not self.ending.is_set():
            while count < (time.monotonic() - begun) * rate:
                group.create_task(self._one_of_many(kind, ask(count)))
                count += 1
            await asyncio.sleep(_BEGIN)

    async def _one_of_many(self, kind: str, asked: Awaitable[object]) -> None:
        """A request that may wait for others of ours: that is part of its time."""
        started = time.time()
        async with self.open:
            await self._noted(kind, asked, started)

    async def _noted(self, kind: str, asked: Awaitable[object], began: float | None = None) -> None:
        started, error = began or time.time(), ""
        try:
            await asked
        except Lost as lost:
            error = str(lost)
        self.requests.append(Request(kind, started, time.time() - started, error))

    async def _short(self, _: int) -> None:
        body = await self.client.get("/load/")
        if b"said" not in body:
            raise Lost(f"200, but another body came: {body!r}")

    async def post(self, number: int) -> None:
        """Read whole, or it is lost."""
        body = await self.client.post("/load/upload", _SMALL, chunked=number % 2 == 1)
        _check(body, "bytes", str(len(_SMALL)))

    async def _uploads(self, size: int, digest: str) -> None:
        while not self.ending.is_set():
            await self._noted(record.UPLOAD, self._upload(size, digest))

    async def _upload(self, size: int, digest: str) -> None:
        answer = await self.client.upload("/load/upload", self._throttled(size), size)
        _check(answer, "sha256", digest)

    async def _throttled(self, size: int) -> AsyncIterator[bytes]:
        begun, sent = time.monotonic(), 0
        for part in _parts(size):
            ahead = sent / (self.rates.upload_mb_s * 10**6) - (time.monotonic() - begun)
            await asyncio.sleep(max(0.0, ahead))  # also when late: the loop must hear of a lost connection
            yield part
            sent += len(part)

    async def _h2(self) -> None:
        """HTTP/2 as browsers speak it, by curl."""
        with tempfile.NamedTemporaryFile() as file:
            file.truncate(self.rates.upload_mb * 10**6 // 10)
            await asyncio.gather(
                self._curl(record.H2_SHORT, "/load/?[1-9999999]", "--rate", "20/s"),
                self._curl(record.H2_SLOW, "/load/slow?seconds=5&[1-9999999]", "--parallel", "--parallel-max", "3"),
                self._curl(record.H2_UPLOAD, "/load/upload?[1-9999999]", "-X", "POST", "-T", file.name),
            )

    async def _curl(self, kind: str, path: str, *options: str) -> None:
        """One curl asks again and again; a line for each answer."""
        # To stderr, which is not buffered: a line must come when its answer does.
        shown = "%{stderr}%{http_code} %{http_version} %{time_total} %{errormsg}\n"
        command = [
            "curl",
            "--silent",
            "--no-progress-meter",
            "--http2",
            "--cacert",
            self.ca,
            "--limit-rate",
            "5M",
            "--max-time",
            "60",
        ]
        url = f"https://{self.client.address}{path}"
        process = await asyncio.create_subprocess_exec(
            *command,
            *options,
            "--write-out",
            shown,
            "--output",
            "/dev/null",
            url,
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
        )
        ended = asyncio.create_task(self._end(process))
        assert process.stderr is not None
        async for line in process.stderr:
            status, version, seconds, *said = line.decode().split(" ", 3)
            error = (
                "" if (status, version) == ("200", "2") else f"{status} over HTTP/{version}: {' '.join(said)}".strip()
            )
            self.requests.append(Request(kind, time.time() - float(seconds), float(seconds), error))
        await ended

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """What curl has under way at the end is not counted: it does not tell."""
        await self.ending.wait()
        if process.returncode is None:
            process.kill()


def _check(body: bytes, key: str, expected: str) -> None:
    """What was read is what was sent, or it is lost: a 200 alone proves nothing."""
    try:
        said = json.loads(body)
    except ValueError:
        said = {}
    if said.get(key) != expected:
        raise Lost(f"200, but another body came: {body[:200]!r}")


def _parts(size: int) -> list[bytes]:
    whole, rest = divmod(size, _PART)
    return [*[_BLOCK] * whole, *([_BLOCK[:rest]] if rest else [])]


def _digest(size: int) -> str:
    digest = hashlib.sha256()
    for part in _parts(size):
        digest.update(part)
    return digest.hexdigest()


def folder_of_stack() -> Path:
    """The stack that answers."""
    return Path(__file__).parent / "stack"
