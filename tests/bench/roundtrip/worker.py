"""The worker of web.py: takes from the one list, answers on a list of each job's own."""

from __future__ import annotations

import os

import redis

if __name__ == "__main__":
    client = redis.Redis.from_url(os.environ["BENCH_REDIS"], socket_timeout=None)
    while True:
        _, job = client.blpop(["bench:todo"])
        job_id, size = job.decode().split()
        client.rpush(f"bench:{job_id}", size)
