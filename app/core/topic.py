"""One followed job: its events so far, from which each of its followers takes what it has not had."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.core.ledger import Job
from app.core.ledger.watch import Look
from app.core.story import has_ended, place

END = "end"  # the id of a job's last event
NOTHING_BEFORE = 2**31  # a place after which there is no state but the present one


@dataclass(frozen=True, slots=True)
class News:
    """What a look brought about one job: the look and the events that are new, by place; no look: the job is gone."""

    look: Look | None = None
    events: tuple[tuple[int, bytes], ...] = ()


def event(job: Job, number: int, answer: Mapping[str, Any]) -> bytes:
    """One server-sent event, whose id is the job's place in its story."""
    number_or_end = END if has_ended(job) else str(number)
    return f"id: {number_or_end}\ndata: {json.dumps(answer, separators=(',', ':'))}\n\n".encode()


@dataclass(slots=True, eq=False)
class Topic:
    """One followed job: its events so far, of each place the newest, numbered as they came."""

    wanted: int  # the place after which every state is told
    followers: int = 0
    look: Look | None = None
    gone: bool = False
    events: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    count: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Wake all who wait for news."""
        self.changed.set()
        self.changed = asyncio.Event()

    def add(self, news: News) -> None:
        """Take in what a look brought."""
        for number, text in news.events:
            self.count += 1
            self.events[number] = (self.count, text)
        self.look, self.gone = news.look, news.look is None
        self.wake()

    def want(self, last: int) -> None:
        """A new follower wants the states after `last`; who follows already still misses none."""
        if last < self.wanted:
            self.wanted = min(last, self.known)
            self.look = None

    @property
    def known(self) -> int:
        """The place up to which every state has been told."""
        return self.wanted if self.look is None else place(self.look.job)

    def after(self, number: int, count: int) -> Iterator[tuple[int, int, bytes]]:
        """Events of `number` and later places that are newer than `count`."""
        for at in sorted(self.events):
            came, text = self.events[at]
            if at >= number and came > count:
                yield at, came, text

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.gone or (self.look is not None and has_ended(self.look.job))
