"""The call that a job has changed, over Redis pub/sub: best effort, for those who follow jobs. It names the job only.

The ledger stays the truth: who hears the call asks the ledger, and asks once a second anyhow.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.core.broker import USER
from app.core.settings import Settings

log = logging.getLogger(__name__)
CHANNEL = "farrier:jobs"
SECONDS = 0.25  # that Redis has to take a call: a job must not wait for those who watch it
QUIET = 5.0  # seconds without a call after one that Redis did not take


def redis_options(settings: Settings) -> dict[str, Any]:
    """How to reach the stack's Redis, for a client of redis-py."""
    return {
        "unix_socket_path": str(settings.redis_socket),
        "username": USER,
        "password": settings.redis_password,
        "socket_connect_timeout": SECONDS,
    }


class Changes:
    """Tells that jobs have changed. May be used by many threads."""

    def __init__(self, settings: Settings) -> None:
        # Tried twice: the first failure is that of a connection from before Redis was restarted.
        again = Retry(NoBackoff(), 1)
        self._redis = redis.Redis(**redis_options(settings), socket_timeout=SECONDS, retry=again)
        self._quiet_until = 0.0

    def publish(self, job_id: str) -> None:
        """Call out a committed change of a job; where Redis does not take it, its followers learn it a second later."""
        if time.monotonic() < self._quiet_until:
            return
        try:
            self._redis.publish(CHANNEL, job_id)
        except redis.RedisError as error:
            self._quiet_until = time.monotonic() + QUIET
            log.warning("changes of jobs are not called out for %g s (%s)", QUIET, type(error).__name__)
