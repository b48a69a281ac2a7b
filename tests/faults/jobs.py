"""No job is lost: what is broken while 2,000 jobs come in, and what became of each of them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from tests.harness import Observation
from tests.jobs import causes
from tests.jobs.audit import FAILED, Expected, audit, doubled, ends_of, longest_recovery
from tests.jobs.clients import Plan
from tests.jobs.serving import JobsHost, serving_jobs

_SHOWN = 3  # findings in a row of the table


@dataclass(frozen=True)
class Fault:
    """One way to break something. `recovers`: seconds in which a job goes on once a worker is there."""

    name: str
    promise: str
    cause: causes.Cause
    around: Callable[[JobsHost], AbstractContextManager[None]] = causes.as_it_is
    expected: Expected = field(default_factory=Expected)
    recovers: float = 10.0
    plan: Plan = field(default_factory=Plan)


def jobs() -> Iterator[Observation]:
    """Each fault on the same host, which must serve before the next one."""
    with serving_jobs(os.environ.get("FARRIER_FAULT_HOST", "fault-jobs")) as host:
        for fault in FAULTS:
            yield observe(host, fault)


def observe(host: JobsHost, fault: Fault) -> Observation:
    """Cause it while jobs come in; the row that the audit makes of it."""
    try:
        with fault.around(host):
            observed, wrong = _account(host, fault)
    except AssertionError as error:
        observed, wrong = "not counted", [(str(error).splitlines() or ["a check failed"])[0]]
    more = [f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
    return Observation(
        f"jobs: {fault.name}", fault.promise, "; ".join([observed, *wrong[:_SHOWN], *more]), ok=not wrong
    )


def _account(host: JobsHost, fault: Fault) -> tuple[str, list[str]]:
    """What is said of the fault, and what was not as promised."""
    after = host.watch()
    with host.submission(fault.plan) as coming:
        moments = fault.cause(host, coming)
    host.wait_until_quiet()
    coming.ask_all()
    found = host.found(after)
    recovery = longest_recovery(found.moves, moments)
    wrong = [*audit(found, coming.told, fault.expected), *host.failed()]
    if recovery > fault.recovers:
        wrong.append(f"the longest recovery was to be {fault.recovers:g} s")
    failed = sum(row.state == FAILED for row in found.rows)
    ended = len(coming.accepted.keys() & ends_of(found.moves).keys())
    figures = f"sent {len(coming.accepted):,}, ended {ended:,}, doubled {doubled(found)}, failed {failed}"
    refused = f", {len(coming.refused)} requests refused meanwhile" if coming.refused else ""
    # Where the clock is stepped, the moves' own times say nothing.
    measured = f", longest recovery {recovery:.1f} s" if math.isfinite(fault.recovers) else ""
    return f"{figures}{measured}{refused}", wrong


_ONCE = "every accepted job ends exactly once"
_AGAIN = f"{_ONCE}; a killed one runs again within 10 s"
FAULTS = (
    Fault("kill -9 of a worker's child, 5 times", _AGAIN, causes.children_killed, plan=Plan(times=5)),
    Fault("kill -9 of a worker's main process, 4 times", _AGAIN, causes.mains_killed, plan=Plan(times=4)),
    Fault("kill -9 of both workers, twice", _AGAIN, causes.all_workers_killed, plan=Plan(times=2)),
    Fault("`systemctl restart` of both workers, twice", _ONCE, causes.workers_restarted, plan=Plan(times=2)),
    Fault("`systemctl stop` of both workers, later `start`", _ONCE, causes.workers_stopped),
    Fault("SIGSTOP of a worker for longer than its lease, then SIGCONT", _ONCE, causes.worker_frozen),
    Fault(
        "a step killed as the OOM killer does it, 3 times",
        f"{_ONCE}; the killed ones fail and say so",
        causes.steps_killed,
        expected=Expected(3, "memory ran out", attempts=1),
        plan=Plan(times=3),
    ),
    Fault(
        "a job that kills its worker",
        f"{_ONCE}; that one is given up after the third time and says so",
        causes.nothing_more,
        expected=Expected(1, "The worker died 3 times while it worked on this job"),
        plan=Plan(extra=("deadly",)),
    ),
    Fault("kill -9 of Redis, twice", _ONCE, causes.redis_killed, plan=Plan(times=2)),
    Fault("`systemctl restart` of Redis, 3 times", _ONCE, causes.redis_restarted, plan=Plan(times=3)),
    Fault("FLUSHALL of Redis, 4 times", _ONCE, causes.redis_wiped, causes.redis_open, plan=Plan(times=4)),
    Fault("Redis's disk full", _ONCE, causes.redis_disk_full, causes.redis_on_a_small_disk),
    Fault(
        "the ledger's disk full for longer than a lease",
        f"{_ONCE}; it costs no attempt",
        causes.ledger_disk_full,
        causes.ledger_on_a_small_disk,
        Expected(attempts=1),
    ),
    Fault("`systemctl reboot` of the host", _AGAIN, causes.rebooted),
    Fault(
        "clock of web and workers an hour on and an hour back",
        f"{_ONCE}, in its first attempt",
        causes.clock_stepped,
        causes.clock_of_our_own,
        Expected(attempts=1),
        float("inf"),
    ),
    Fault("Redis away for 15 minutes", f"{_ONCE}; nothing restarts", causes.redis_away),
)

RUN = [jobs]
