"""Clients that submit jobs through the front door, whatever happens behind it, and remember what they were told."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from tests.jobs.audit import ENDS, Told
from tests.load.http1 import Client, Lost

CLIENTS = 8  # at the same time
PAUSE = 0.2  # seconds that a client waits after a refusal


@dataclass(frozen=True)
class Plan:
    """What to submit, and how often the fault comes meanwhile. `extra`: pipelines of the first jobs."""

    jobs: int = 2000
    pace: float = 60.0  # jobs a second at most
    short_every: int = 50  # one job in so many has a step; the others are no-ops
    times: int = 1
    extra: Sequence[str] = ()

    def pipeline(self, number: int) -> str:
        """The pipeline of the job of that number."""
        if number < len(self.extra):
            return self.extra[number]
        return "short" if number % self.short_every == self.short_every // 2 else "noop"


@dataclass
class Submission:
    """Submits in a thread until all jobs are accepted; in a `with`, whose end waits for that."""

    client: Client
    plan: Plan
    accepted: dict[str, str] = field(default_factory=dict)
    ends: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    twice: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _thread: threading.Thread = field(init=False)
    _more: threading.Condition = field(default_factory=threading.Condition)
    _begun: int = 0

    @property
    def told(self) -> Told:
        """What the clients know now."""
        return Told(dict(self.accepted), dict(self.ends), self.twice)

    def wait_for(self, accepted: int, within: float = 240) -> None:
        """Wait until so many jobs are accepted."""
        with self._more:
            there = self._more.wait_for(lambda: len(self.accepted) >= accepted, within)
        assert there, f"{len(self.accepted)} of {accepted} jobs accepted in {within:g} s; {self.refused[-1:]}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._submit_all()), name="submission", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self.wait_for(self.plan.jobs)
            self._thread.join()

    def ask_all(self) -> None:
        """Ask for the status of every accepted job once more."""
        asyncio.run(self._ask_all())

    async def _submit_all(self) -> None:
        began = time.monotonic()
        await asyncio.gather(*(self._submit_some(began) for _ in range(CLIENTS)))
        await self.client.close()

    async def _submit_some(self, began: float) -> None:
        while self._begun < self.plan.jobs:
            number, self._begun = self._begun, self._begun + 1
            await asyncio.sleep(max(0.0, began + number / self.plan.pace - time.monotonic()))
            await self._submit(number)
            await self._ask(next(iter(list(self.accepted)[-CLIENTS * 4 :])))

    async def _submit(self, number: int) -> None:
        pipeline = self.plan.pipeline(number)
        text = f"job {number} of {id(self)}"
        while True:
            try:
                answer = await self.client.post(f"/engine/submit/{pipeline}", text.encode(), chunked=False)
            except Lost as lost:
                self.refused.append(str(lost))
                await asyncio.sleep(PAUSE)
            else:
                return self._note(json.loads(answer)["job_id"], text if pipeline == "short" else "")

    def _note(self, job: str, text: str) -> None:
        with self._more:
            if job in self.accepted:
                self.twice.append(job)
            self.accepted[job] = text
            self._more.notify_all()

    async def _ask(self, job: str) -> None:
        """What a job's status is said to be; an end is remembered, so that another one later is found out."""
        try:
            said: dict[str, Any] = json.loads(await self.client.get(f"/engine/status/{job}"))
        except Lost:
            return
        if said["state"] in ENDS:
            self.ends[job].add(said["state"])

    async def _ask_all(self) -> None:
        jobs = list(self.accepted)

        async def some() -> None:
            while jobs:
                await self._ask(jobs.pop())

        await asyncio.gather(*(some() for _ in range(CLIENTS)))
        await self.client.close()


def client_of(address: str, ca: str) -> Client:
    """A client that trusts nothing but the front door's CA."""
    return Client(address, ssl.create_default_context(cafile=ca))
