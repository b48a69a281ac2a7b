"""jobs.py SITE REFERENCE ROUNDS: job after job, each beside a round trip of the reference and of the bare list.

Prints seconds as JSON: {name: [one a round]}. BENCH_REDIS is the address of the list's Redis.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections import defaultdict

import redis

from tests.bench.on_host.asking import Connection, form, submit, times

WARM_UP = 20  # rounds that are not counted


def job(site: Connection, scan: bytes) -> tuple[str, float, float, float]:
    """One job from its upload to the news of its end: its id, when it began, and seconds to the answer and the end."""
    at, began = time.time(), time.perf_counter()
    name = submit(site, scan)
    accepted = time.perf_counter() - began
    last = site.ask("GET", f"/status/{name}/events").decode().strip().split("\n\n")[-1]
    done = time.perf_counter() - began
    if '"status":"complete"' not in last:
        raise RuntimeError(f"the job did not end well: {last}")
    return name, at, accepted, done


def timed_list(client: redis.Redis) -> float:
    """A round trip over the bare lists, without HTTP."""
    began, name = time.perf_counter(), secrets.token_hex(16)
    client.rpush("bench:todo", f"{name} 1")
    client.blpop([f"bench:{name}"])
    return time.perf_counter() - began


def timed_reference(reference: Connection, scan: bytes) -> float:
    """The same work as a job's, over the bare lists."""
    began = time.perf_counter()
    reference.ask("POST", "/round", scan, "application/octet-stream")
    return time.perf_counter() - began


def main(site_socket: str, reference_socket: str, rounds: int) -> None:
    """Take turns."""
    site, reference, scan = Connection(site_socket), Connection(reference_socket), form()
    client = redis.Redis.from_url(os.environ["BENCH_REDIS"], socket_timeout=None)
    found: dict[str, list[float]] = defaultdict(list)
    jobs = []
    for number in range(WARM_UP + rounds):
        figures = {"list": timed_list(client), "reference": timed_reference(reference, scan)}
        name, at, figures["accepted"], figures["done"] = job(site, scan)
        if number >= WARM_UP:
            jobs.append((name, at))
            for each, seconds in figures.items():
                found[each].append(seconds)
    found["running"] = [times(name)[0] - at for name, at in jobs]
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
