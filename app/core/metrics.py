"""How the site is doing, for Prometheus. Every number is the ledger's, so that all web processes say the same."""

from __future__ import annotations

import hmac
from collections.abc import Iterator

from fastapi import FastAPI, HTTPException, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from app.core.ledger import State, lookup
from app.core.service import Service


class Ledger(Collector):
    """Reads the ledger at each question."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stack = service.settings.stack

    def collect(self) -> Iterator[Metric]:
        """Every metric."""
        yield self._jobs()
        yield self._oldest()
        yield self._counter("farrier_job_failures", "Jobs that failed.", "code", lookup.by_error)
        yield self._counter("farrier_attempts", "Attempts at jobs that have ended.", "outcome", lookup.by_outcome)
        yield self._durations()
        yield self._workers()
        yield self._served()
        disk = self._gauge("farrier_disk_free_bytes", "Free room on the disk of uploads and results.")
        disk.add_metric([self._stack], self._service.storage.free())
        yield disk

    def _gauge(self, name: str, text: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(name, text, labels=("stack", *labels))

    def _jobs(self) -> Metric:
        """Also the zeros: an alert on a series that is not there never fires."""
        found = lookup.by_state(self._service.database)
        queues = {*self._service.settings.queues, *(queue for queue, _ in found)}
        gauge = self._gauge("farrier_jobs", "Jobs in the ledger; those queued are the depth.", "queue", "state")
        for queue in sorted(queues):
            for state in State:
                gauge.add_metric([self._stack, queue, state.value], found.get((queue, state.value), 0))
        return gauge

    def _oldest(self) -> Metric:
        found, now = lookup.oldest_waiting(self._service.database), self._service.clock.wall()
        gauge = self._gauge("farrier_oldest_queued_seconds", "How long the first in the queue has waited.", "queue")
        for queue in sorted({*self._service.settings.queues, *found}):
            gauge.add_metric([self._stack, queue], max(0.0, now - found[queue]) if queue in found else 0)
        return gauge

    def _counter(self, name: str, text: str, label: str, count: lookup.Count) -> Metric:
        counter = CounterMetricFamily(name, text, labels=("stack", "queue", label))
        for (queue, value), number in sorted(count(self._service.database).items()):
            counter.add_metric([self._stack, queue, value], number)
        return counter

    def _durations(self) -> Metric:
        text = "How long jobs lasted that were done."
        histogram = HistogramMetricFamily("farrier_job_duration_seconds", text, labels=("stack", "queue"))
        for queue, (buckets, seconds) in sorted(lookup.durations(self._service.database).items()):
            histogram.add_metric([self._stack, queue], buckets, seconds)
        return histogram

    def _workers(self) -> Metric:
        found = self._service.workers.alive()
        gauge = self._gauge("farrier_workers_alive", "Workers that give signs of life.", "queue")
        for queue in sorted({*self._service.settings.queues, *found}):
            gauge.add_metric([self._stack, queue], found.get(queue, 0))
        return gauge

    def _served(self) -> Metric:
        text = "Whether a worker of the queue is awake, or sleeps and would wake."
        gauge = self._gauge("farrier_queue_served", text, "queue")
        for queue in self._service.settings.queues:
            gauge.add_metric([self._stack, queue], self._service.is_served(queue))
        return gauge


def exposition(service: Service) -> bytes:
    """All metrics in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Ledger(service))
    return generate_latest(registry)


def _permit(request: Request, token: str | None) -> None:
    """Raises HTTPException for whoever may not see the metrics.

    What comes through the front door has a header that Caddy writes. Without it, the request came to the service's
    socket itself, which only root, Caddy and the stack's own user can open.
    """
    if "x-forwarded-for" not in request.headers:
        return
    if token is None:
        raise HTTPException(404, "Not Found")
    given = request.headers.get("authorization", "").encode("latin-1")
    if not hmac.compare_digest(given, f"Bearer {token}".encode()):
        raise HTTPException(401, "Give the metrics' token.", {"WWW-Authenticate": "Bearer"})


def add_metrics(app: FastAPI, service: Service) -> None:
    """GET /metrics: at the service's socket for the host's own, elsewhere with the token from the vault."""

    @app.get("/metrics", include_in_schema=False)
    def metrics(request: Request) -> Response:
        _permit(request, service.settings.metrics_token)
        return Response(exposition(service), media_type=CONTENT_TYPE_PLAIN_0_0_4)
