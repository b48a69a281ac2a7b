"""How long test hosts take: everything else waits for them."""

from __future__ import annotations

import time
from collections.abc import Iterator

from testbed import host
from testbed.settings import SUITES
from tests.harness import Figure


def boot() -> Iterator[Figure]:
    """From the call to a running systemd, and back to nothing."""
    for suite in SUITES:
        name = f"bench-{suite}"
        started = time.monotonic()
        host.up(name, suite, warm=True)
        booted = time.monotonic()
        host.down(name)
        yield Figure(f"boot {suite}", booted - started, "s")
        yield Figure(f"remove {suite}", time.monotonic() - booted, "s")


RUN = [boot]
