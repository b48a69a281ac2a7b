"""Many who follow jobs at once, as browsers do: they come again when a stream ends, and say what they had last."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

ENDS = ("complete", "error")
Client = Callable[[], httpx.AsyncClient]


@dataclass
class Follower:
    """One EventSource. `told`: the answers that it was told; `opened`: how often it came."""

    job: str
    told: list[dict[str, Any]] = field(default_factory=list)
    opened: int = 0
    last: str | None = None

    @property
    def states(self) -> list[str]:
        """The states that it was told, in order, each once."""
        found: list[str] = []
        for answer in self.told:
            if answer["status"] not in found[-1:]:
                found.append(str(answer["status"]))
        return found

    async def run(self, client: httpx.AsyncClient) -> None:
        """Follow until the job has ended."""
        while not self.told or self.told[-1]["status"] not in ENDS:
            headers = {"Last-Event-ID": self.last} if self.last else {}
            try:
                async with client.stream("GET", f"/status/{self.job}/events", headers=headers) as answer:
                    assert answer.status_code == 200, await answer.aread()
                    self.opened += 1
                    await self._read(answer)
            except httpx.TransportError:  # it was cut off, which a browser does not take for an end either
                pass
            await asyncio.sleep(0.1)

    async def _read(self, answer: httpx.Response) -> None:
        last = self.last
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                last = value
            elif name == "data":
                self.told.append(json.loads(value))
                self.last = last


@asynccontextmanager
async def following(jobs: list[str], client: Client) -> AsyncIterator[list[Follower]]:
    """All of them, each told the present state of its job already; at the end all have seen their job's end."""
    followers = [Follower(job) for job in jobs]
    async with client() as shared, asyncio.TaskGroup() as tasks:
        for follower in followers:
            tasks.create_task(follower.run(shared))
        await until(lambda: all(each.told for each in followers))
        yield followers


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)
