"""Status by push: everyone who follows a job is told each of its states, in order, as server-sent events.

One task of a web process hears the calls of all jobs (app/core/events.py) and asks the ledger about the followed ones,
at most one query at a time: at once for those that were called, once a second for all. So a lost call, or a Redis that
is away, costs a second; and a state that was over by then is told all the same, because it follows from the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from app.core.ending import Ending
from app.core.events import CHANNEL
from app.core.ledger import Job
from app.core.ledger.watch import Look
from app.core.story import place, since
from app.core.topic import NOTHING_BEFORE, News, Topic, event

log = logging.getLogger(__name__)
TICK = 1.0  # seconds between two questions about all followed jobs
KEEP_ALIVE = 15.0  # seconds without news after which a comment goes out, for proxies that close silent connections
FIRST_NEWS = 5.0  # seconds that the ledger has for its first answer about a job
CONNECT_AGAIN = 0.5  # seconds between two tries to hear Redis
AGAIN_MS = 500  # what a browser waits before it comes again


class TooMany(Exception):
    """The process has as many followers as it may have."""


class NoSuchJob(Exception):
    """There is no such job (any more)."""


class NotNow(Exception):
    """The ledger does not answer just now."""


class Follower:
    """One who follows a job. `leave` when it is over; `events` ends by itself when there is nothing more to tell."""

    def __init__(self, topic: Topic, last: int | None, ending: Ending, leave: Callable[[], None]) -> None:
        self._topic, self._last, self._ending, self._leave = topic, last, ending, leave

    def leave(self) -> None:
        """Follow no more."""
        self._leave()

    async def events(self) -> AsyncIterator[bytes]:
        """The stream: the present state (or all after `last`), then each change, until the end."""
        topic, present = self._topic, max(self._topic.events)
        at, count = present if self._last is None else min(self._last + 1, present), 0
        yield f"retry: {AGAIN_MS}\n\n".encode()
        while True:
            changed = topic.changed
            for number, came, text in topic.after(at, count):
                yield text
                at, count = number, max(count, came)
            if changed.is_set():  # more came while that was sent
                continue
            if topic.is_over or self._ending.is_near():
                return
            try:
                async with asyncio.timeout(KEEP_ALIVE):
                    await changed.wait()
            except TimeoutError:
                yield b": nothing new\n\n"


class Followers:
    """All followers of one web process and its event loop. Two tasks run from the first one on.

    `look` asks the ledger about many jobs, `answer` says a job as its users know it; both run in a thread.
    """

    def __init__(
        self,
        look: Callable[[Collection[str]], Mapping[str, Look]],
        answer: Callable[[Job], Mapping[str, Any]],
        listener: Callable[[], redis.asyncio.Redis],
        ending: Ending,
        limit: int,
    ) -> None:
        self._look, self._answer, self._listener = look, answer, listener
        self._ending, self._limit = ending, limit
        ending.on_end = self._wake_all
        self._topics: dict[str, Topic] = {}
        self._due: set[str] = set()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._thread = ThreadPoolExecutor(1, "follow")
        self._count = 0

    async def follow(self, job_id: str, last: int | None = None) -> Follower:
        """Follow a job from now on, or from the place `last` of its story on.

        Raises TooMany, NoSuchJob, or NotNow while the ledger does not answer.
        """
        if self._count >= self._limit:
            raise TooMany
        topic = self._join(job_id, last)
        left = False

        def leave() -> None:
            nonlocal left
            if not left:
                left = True
                self._left(job_id, topic)

        try:
            await self._first_news(topic)
        except BaseException:
            leave()
            raise
        return Follower(topic, last, self._ending, leave)

    def _join(self, job_id: str, last: int | None) -> Topic:
        topic = self._topics.get(job_id)
        if topic is None or topic.is_over:
            topic = self._topics[job_id] = Topic(NOTHING_BEFORE if last is None else last)
        elif last is not None:
            topic.want(last)
        topic.followers += 1
        self._count += 1
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._ask()), asyncio.create_task(self._listen())]
        if topic.look is None:
            self._ask_about([job_id])
        return topic

    def _left(self, job_id: str, topic: Topic) -> None:
        topic.followers -= 1
        self._count -= 1
        if topic.followers == 0 and self._topics.get(job_id) is topic:
            del self._topics[job_id]

    async def _first_news(self, topic: Topic) -> None:
        try:
            async with asyncio.timeout(FIRST_NEWS):
                while topic.look is None and not topic.gone:
                    await topic.changed.wait()
        except TimeoutError:
            raise NotNow from None
        if topic.gone:
            raise NoSuchJob

    # ---- the two tasks ----------------------------------------------------------------------------------------------

    def _ask_about(self, job_ids: Iterable[str]) -> None:
        self._due.update(job_ids)
        self._wake.set()

    def _wake_all(self) -> None:
        for topic in self._topics.values():
            topic.wake()

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        tick = loop.time() + TICK
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(tick):
                    await self._wake.wait()
            self._wake.clear()
            due, self._due = self._due, set()
            if loop.time() >= tick:
                tick = loop.time() + TICK
                due = set(self._topics)
                if self._ending.is_near():
                    self._wake_all()
            asked = {job_id: topic for job_id in due if (topic := self._topics.get(job_id)) and not topic.is_over}
            if asked:
                await self._ask_ledger(asked)

    async def _ask_ledger(self, asked: Mapping[str, Topic]) -> None:
        known = {job_id: (topic.known, topic.look) for job_id, topic in asked.items()}
        try:
            news = await asyncio.get_running_loop().run_in_executor(self._thread, self._news, known)
        except SQLAlchemyError as error:
            log.warning("followed jobs could not be asked about (%s); trying again", type(error).__name__)
            return
        for job_id, each in news.items():
            if asked[job_id].known == known[job_id][0]:
                asked[job_id].add(each)

    def _news(self, known: Mapping[str, tuple[int, Look | None]]) -> dict[str, News]:
        """What is new of jobs, from the place and the look that are known of them."""
        found = self._look(known)
        news = {}
        for job_id, (last, before) in known.items():
            now = found.get(job_id)
            # One that an administrator began anew has another story: who follows it comes again for that.
            if now is None or (before and place(now.job) < last):
                news[job_id] = News()
            elif before is None or _differ(before, now):
                events = [(number, event(job, number, self._answer(job))) for number, job in since(last, now.job)]
                news[job_id] = News(now, tuple(events))
        return news

    async def _listen(self) -> None:
        """Hear the calls; after each (new) connection ask about all, since some may have gone unheard."""
        while True:
            client = self._listener()
            try:
                async with client.pubsub() as calls:
                    await calls.subscribe(CHANNEL)
                    async for message in calls.listen():
                        heard = str(message["data"].decode()) if message["type"] == "message" else None
                        self._ask_about(self._topics if heard is None else [heard])
            except (RedisError, OSError) as error:
                log.warning("calls about jobs are not heard (%s); trying again", type(error).__name__)
            finally:
                with suppress(RedisError, OSError):
                    await client.aclose()
            await asyncio.sleep(CONNECT_AGAIN)


def _differ(before: Look, now: Look) -> bool:
    """Whether there is anything that a follower should be told."""
    return _shown(before) != _shown(now)


def _shown(look: Look) -> tuple[object, ...]:
    job = look.job
    return place(job), job.state, job.progress, job.step, job.step_name, look.position, look.waiting
