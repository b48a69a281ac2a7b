"""Celery over Redis as the carrier of wake-up calls. A lost message costs nothing: the ledger sends it again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import quote

from celery import Celery

from app.core.bell import Bells
from app.core.settings import Settings

log = logging.getLogger(__name__)
WAKE = "farrier.wake"
USER = "app"  # of Redis
SECONDS = 2  # that Redis has for an answer where a web request waits for it


class Sender(Protocol):
    """What wakes a worker."""

    def __call__(self, job_id: str, queue: str) -> bool:
        """Send the message; False when that was not possible just now."""


def broker_url(settings: Settings) -> str:
    """The address of the stack's Redis, with its password."""
    return f"redis+socket://{USER}:{quote(settings.redis_password, safe='')}@{settings.redis_socket}?virtual_host=0"


def common(settings: Settings) -> dict[str, Any]:
    """Celery settings that sender and worker share."""
    return {
        "broker_url": broker_url(settings),
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_default_queue": settings.queues[0],
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # for ever
        "broker_channel_error_retry": True,  # a Redis that cannot write just now, to a full disk, is one to wait for
    }


def sender(settings: Settings) -> Sender:
    """A function that wakes the workers of a queue."""
    celery = Celery(f"{settings.stack}-sender", set_as_current=False)
    celery.conf.update(common(settings))
    celery.conf.broker_transport_options = {
        "socket_connect_timeout": SECONDS,
        "socket_timeout": SECONDS,
        "max_retries": 0,  # else it tries for ever
        "interval_start": 0,
    }

    def send(job_id: str, queue: str) -> bool:
        try:
            celery.send_task(WAKE, args=[job_id], queue=queue, retry=False)
        except Exception as error:  # noqa: BLE001  whatever the transport raises: the reaper tries again
            log.warning("job %s: no message could be sent (%s); it stays queued", job_id, type(error).__name__)
            return False
        return True

    return send


def ringing(send: Sender, bells: Bells, wanted: Callable[[str, int], int]) -> Sender:
    """A sender that rings after each message: for as many workers as `wanted(queue, at most)` says have work."""

    def send_and_ring(job_id: str, queue: str) -> bool:
        sent = send(job_id, queue)
        many = bells.many(queue)
        if sent and many:
            bells.ring(queue, 1 if many == 1 else wanted(queue, many))
        return sent

    return send_and_ring
