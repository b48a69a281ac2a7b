"""Scans that keep coming while something is done to a site."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from tests.e2e.site import PHANTOM, Site


@dataclass
class Posts:
    """What was sent and what came of it; `slowest` in seconds."""

    sent: int = 0
    slowest: float = 0.0
    errors: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, seconds: float, answer: httpx.Response | Exception) -> None:
        """One request has ended."""
        ok = isinstance(answer, httpx.Response) and answer.status_code == 201
        with self._lock:
            self.sent += 1
            self.slowest = max(self.slowest, seconds)
            if ok and isinstance(answer, httpx.Response):
                self.jobs.append(str(answer.json()["job_id"]))
            else:
                told = answer.text if isinstance(answer, httpx.Response) else repr(answer)
                self.errors.append(told)


@contextmanager
def steady_posts(site: Site, rate: float) -> Iterator[Posts]:
    """Submit `rate` scans a second through the front door, each over a connection of its own, until the end.

    What is asked is whether they are accepted: those that still wait at the end are cancelled.
    """
    posts, over = Posts(), threading.Event()
    scan = PHANTOM.read_bytes()

    def post() -> None:
        started = time.monotonic()
        try:
            with site.client() as client:
                answer: httpx.Response | Exception = client.post("/upload", files={"file": (PHANTOM.name, scan)})
        except (httpx.HTTPError, OSError) as error:
            answer = error
        posts.note(time.monotonic() - started, answer)

    def send() -> None:
        with ThreadPoolExecutor(16) as pool:
            due = time.monotonic()
            while not over.is_set():
                pool.submit(post)
                due += 1 / rate
                over.wait(max(0.0, due - time.monotonic()))

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield posts
    finally:
        over.set()
        sender.join()
        if posts.jobs:
            site.host.run(f"knee-admin cancel {' '.join(posts.jobs)}")
