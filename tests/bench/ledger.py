"""How many changes of jobs a ledger in a file takes, on disk each, from two processes at once; beside bare SQLite."""

from __future__ import annotations

import multiprocessing
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import repeat
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import quantiles
from typing import Any

from app.core.ledger import Job, Jobs, NewJob, boot_clock, open_database
from app.core.ledger.migrate import Migration, migrate
from app.core.storage import new_job_id
from tests.harness import ROOT, Figure

_PROCESSES = 2
_SECONDS = 5.0
_BARE = "bare.sqlite"
Change = Callable[[], Any]


def ledger() -> Iterator[Figure]:
    """Whole jobs, one after the other, by our own class; then a bare transaction of one statement."""
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    # In the build folder: a temporary one may lie in memory, where nothing is ever synced.
    with tempfile.TemporaryDirectory(dir=build) as name:
        folder = Path(name)
        migrate(Migration(folder / "ledger", folder / "snapshots"))
        with closing(sqlite3.connect(folder / _BARE)) as bare:
            bare.execute("PRAGMA journal_mode=WAL")
            bare.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, state TEXT)")
        rate, slowest = _measure(_jobs, folder)
        bare_rate, _ = _measure(_statements, folder)
    yield Figure("ledger: transitions, 2 processes, each on disk", rate, "1/s")
    yield Figure("ledger: 99 of 100 transitions within", slowest * 1000, "ms")
    yield Figure("bare SQLite: transactions of one statement, the same", bare_rate, "1/s")
    yield Figure("bare SQLite : ledger", bare_rate / rate, "ratio")


def _measure(changes: Callable[[Path], Iterator[Change]], folder: Path) -> tuple[float, float]:
    """Changes a second of all processes together, and the seconds that 99 of 100 take at most."""
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(_PROCESSES), context.Queue()
    started = [context.Process(target=_one, args=(changes, folder, ready, results)) for _ in range(_PROCESSES)]
    for process in started:
        process.start()
    times = [each for _ in started for each in results.get(timeout=60)]
    for process in started:
        process.join()
    return len(times) / _SECONDS, quantiles(times, n=100)[98]


def _one(changes: Callable[[Path], Iterator[Change]], folder: Path, ready: Barrier, results: Any) -> None:
    todo = changes(folder)
    times = []
    ready.wait(30)
    end = time.monotonic() + _SECONDS
    while (began := time.monotonic()) < end:
        next(todo)()
        times.append(time.monotonic() - began)
    results.put(times)


def _jobs(folder: Path) -> Iterator[Change]:
    """Each job is submitted, sent, claimed, renewed, has one step, and is published: seven transitions."""
    jobs = Jobs(open_database(folder / "ledger"), boot_clock())
    while True:
        new = NewJob(new_job_id(), "knee", "knee", "scan.nii", {})
        claimed: list[Job | None] = []
        yield partial(jobs.submit, new)
        yield partial(jobs.mark_sent, new.id)
        yield lambda claimed=claimed: claimed.append(jobs.claim_next(["knee"], "bench", 30))  # type: ignore[misc]
        job = claimed[0]
        assert job is not None
        yield partial(jobs.renew, job, 30)
        yield partial(jobs.begin_step, job, number=1, steps=1, name="step")
        yield partial(jobs.end_step, job, number=1, outcome="done", duration=1.0)
        yield partial(jobs.publish, job, size=1, summary={})


def _statements(folder: Path) -> Iterator[Change]:
    bare = sqlite3.connect(folder / _BARE, isolation_level=None, timeout=5)
    bare.execute("PRAGMA synchronous=FULL")

    def insert() -> None:
        bare.execute("BEGIN IMMEDIATE")
        bare.execute("INSERT INTO jobs (state) VALUES ('queued')")
        bare.execute("COMMIT")

    yield from repeat(insert)


RUN = [ledger]
