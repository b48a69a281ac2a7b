"""push.py SITE FOLLOWERS ROUNDS: how long after a change each of many followers of one job knows it.

The worker is held while they gather, so that all see the job wait. Prints JSON: {state: [seconds of every follower]},
counted from the time that the ledger has for the change, and how many were told every state in order.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import defaultdict

from tests.bench.on_host.asking import Connection, form, submit, times, told

ALL = ["queued", "processing", "complete"]
WORKER = "knee-worker@0.service"
Seen = list[tuple[str, float]]  # states, and when they were known (seconds UTC)


async def follow(site: str, job: str, gathered: asyncio.Semaphore) -> Seen:
    """All that one follower is told."""
    reader, writer = await asyncio.open_unix_connection(site)
    writer.write(f"GET /status/{job}/events HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
    seen: Seen = []
    pending = ""
    while text := (await reader.read(65536)).decode():
        *events, pending = (pending + text).split("\n\n")
        for event in events:
            answer = told(event)
            if answer:
                seen.append((answer["status"], time.time()))
                if len(seen) == 1:
                    gathered.release()
    writer.close()
    return seen


async def round_of(site: str, job: str, many: int) -> list[Seen]:
    """One job's life before its followers."""
    gathered = asyncio.Semaphore(0)
    followers = [asyncio.create_task(follow(site, job, gathered)) for _ in range(many)]
    for _ in followers:
        await gathered.acquire()
    hold("CONT")
    return list(await asyncio.gather(*followers))


def hold(signal: str) -> None:
    """Stop or continue the worker's processes."""
    subprocess.run(["systemctl", "kill", "--kill-whom=all", f"--signal={signal}", WORKER], check=True)


def main(site: str, many: int, rounds: int) -> None:
    """Round after round."""
    found: dict[str, list[float]] = defaultdict(list)
    whole = 0
    for _ in range(rounds):
        hold("STOP")
        job = submit(Connection(site), form())
        everything = asyncio.run(round_of(site, job, many))
        changed = dict(zip(ALL[1:], times(job), strict=True))
        for seen in everything:
            whole += [state for state, _ in dict(seen).items()] == ALL
            for state, known in reversed(seen):  # the first time that it was told counts
                if state in changed:
                    found[state].append(known - changed[state])
    print(json.dumps({"seconds": found, "whole": whole}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
