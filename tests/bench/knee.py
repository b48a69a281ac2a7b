"""How long an administrator and a user wait: deploying, a job, a reboot."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.e2e.site import Site, deployed
from tests.harness import Figure

_RUNS = 3


def knee() -> Iterator[Figure]:
    """Everything on one host, one figure after the other."""
    started = time.monotonic()
    with deployed("bench-pegasus") as site:
        yield Figure("boot and first deploy, warm image", time.monotonic() - started, "s")
        yield Figure("upload to result", _best(lambda: _job(site)), "s")
        yield Figure("reboot to ready", _reboot(site), "s")


def _best(measure: object) -> float:
    assert callable(measure)
    return min(float(measure()) for _ in range(_RUNS))


def _job(site: Site) -> float:
    started = time.monotonic()
    site.wait_for(site.submit())
    return time.monotonic() - started


def _reboot(site: Site) -> float:
    started = time.monotonic()
    site.reboot()
    site.wait_until_serving()
    return time.monotonic() - started


RUN = [knee]
