"""The worker of web.py: takes from the one list, answers on a list of each job's own."""

from __future__ import annotations

import os

import redis

if __name__ == "__main__":
    client = redis.Redis.from_url(os.environ["BENCH_REDIS"], socket_timeout=None, decode_responses=True)
    while True:
        taken = client.blpop(["bench:todo"])
        assert taken is not None, "without a time-out there is no answer without a job"
        job_id, size = str(taken[1]).split()
        client.rpush(f"bench:{job_id}", size)
