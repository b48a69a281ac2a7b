"""How long after a change of a job its followers know it: many of them, on one web process."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from tests.bench.jobs import no_op_host, on_host
from tests.harness import Figure

_LIVE = "/run/farrier/knee/web.live.sock"
_FOLLOWERS = 200
_ROUNDS = 10


def push() -> Iterator[Figure]:
    """From the ledger's time of a change to the moment when a follower has it, over all followers and rounds."""
    with no_op_host("bench-push") as (site, python):
        one = on_host(site, python, f"push {_LIVE} 1 {_ROUNDS}")
        many = on_host(site, python, f"push {_LIVE} {_FOLLOWERS} {_ROUNDS}")
    known = sorted(each for seconds in many["seconds"].values() for each in seconds)
    alone = [each for seconds in one["seconds"].values() for each in seconds]
    yield Figure("change to a lone follower, p50", median(alone) * 1000, "ms")
    yield Figure(f"change to {_FOLLOWERS} followers, p50", median(known) * 1000, "ms")
    yield Figure(f"change to {_FOLLOWERS} followers, p99", known[int(len(known) * 0.99)] * 1000, "ms")
    yield Figure("followers that were told every state", many["whole"] / (_FOLLOWERS * _ROUNDS), "ratio")


RUN = [push]
