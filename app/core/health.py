"""Is this service ready? Each dependency is asked for real; what is missing is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.core.broker import USER
from app.core.ledger import Election, Jobs
from app.core.ledger.lifetime import Lifetime
from app.core.pipelines import Pipeline
from app.core.settings import MIB, Settings
from app.core.storage import Storage

SECONDS = 2.0  # that a dependency has for its answer
OK = "ok"
BETWEEN_STEPS = 120.0  # seconds that a job may take besides its steps: to copy, to pack, to be noted
Check = Callable[[], str]  # gives "ok" or what is wrong


@dataclass(frozen=True, slots=True)
class Readiness:
    """The outcome of all checks by name."""

    checks: Mapping[str, str]

    @property
    def missing(self) -> list[str]:
        """The checks that did not pass."""
        return [name for name, outcome in self.checks.items() if outcome != OK]

    def body(self) -> dict[str, Any]:
        """What /health/ready answers."""
        missing = self.missing
        return {"status": "not ready" if missing else "ready", "checks": dict(self.checks), "missing": missing}


def _outcome(check: Check) -> str:
    try:
        return check()
    except Exception as error:  # noqa: BLE001  whatever a dependency raises is the finding
        return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def ask(checks: Mapping[str, Check]) -> Readiness:
    """Do all checks."""
    return Readiness({name: _outcome(check) for name, check in checks.items()})


def redis_check(settings: Settings) -> Check:
    """Whether Redis takes a write (it may answer a ping while its disk is full)."""
    client = redis.Redis(
        unix_socket_path=str(settings.redis_socket),
        username=USER,
        password=settings.redis_password,
        socket_timeout=SECONDS,
        socket_connect_timeout=SECONDS,
        retry=Retry(NoBackoff(), 0),  # the question is how Redis is now
    )

    def check() -> str:
        client.set("farrier:health", settings.service, ex=60)
        return OK

    return check


def ledger_check(election: Election) -> Check:
    """Whether the ledger takes a write (on a full disk it still gives its write lock, and answers)."""

    def check() -> str:
        election.hold("health", 0.0)
        return OK

    return check


def jobs_check(jobs: Jobs, pipelines: Mapping[str, Pipeline]) -> Check:
    """Whether no job runs beyond its time limits: each is cut at them, unless something hangs."""

    def check() -> str:
        for job in jobs.running():
            pipeline = pipelines.get(job.pipeline)
            if pipeline is None:
                continue
            most = sum(step.timeout for step in pipeline.steps) + BETWEEN_STEPS
            if jobs.elapsed(job) > most:
                return f"job {job.id} runs for {jobs.elapsed(job):.0f} s, and should have been cut after {most:.0f} s"
        return OK

    return check


def worker_checks(is_served: Callable[[str], bool], queues: Sequence[str]) -> dict[str, Check]:
    """For each queue, whether a live worker serves it; one that sleeps does, as long as its bell would wake it."""

    def check(queue: str) -> Check:
        return lambda: OK if is_served(queue) else f"no live worker serves the queue {queue}"

    return {f"worker:{queue}": check(queue) for queue in queues}


def cleanup_check(lifetime: Lifetime, timer: str, patience: float) -> Check:
    """Whether everything that was due was deleted within `patience` seconds. `timer`: the unit that sees to it."""

    def check() -> str:
        since = lifetime.since_clean()
        if since is not None and since < patience:
            return OK
        when = "never succeeded" if since is None else f"last succeeded {since / 60:.0f} minutes ago"
        service = timer.replace(".timer", ".service")
        return f"the clean-up of expired data {when}; see `systemctl status {timer} {service}`"

    return check


def disk_check(storage: Storage, reserve: int) -> Check:
    """Whether more than `reserve` bytes are free."""

    def check() -> str:
        free = storage.free()
        if free > reserve:
            return OK
        return f"{free // MIB} MiB free on the disk of {storage.root}, {reserve // MIB} MiB are kept in reserve"

    return check
