"""The least that a site with a queue can do: a POST goes over a Redis list to a worker, and its answer comes back."""

from __future__ import annotations

import os
import secrets

import redis.asyncio
from fastapi import FastAPI, Request

app = FastAPI()
_redis = redis.asyncio.Redis.from_url(os.environ["BENCH_REDIS"], socket_timeout=None)


@app.post("/round")
async def round_trip(request: Request) -> dict[str, str]:
    """Hand the body's size to the worker and wait for what it says."""
    job_id, size = secrets.token_hex(16), len(await request.body())
    await _redis.rpush("bench:todo", f"{job_id} {size}")
    _, said = await _redis.blpop([f"bench:{job_id}"])
    return {"id": job_id, "said": said.decode()}
