"""What the load asks: short answers, slow ones, and uploads that are read whole before they are answered."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """`/`: at once; `/slow?seconds=5`: later; `/upload`: the count and the SHA-256 of what came."""
    if scope["type"] != "http":
        raise RuntimeError("the load speaks HTTP only")
    if scope["path"].endswith("/slow"):
        await asyncio.sleep(float(parse_qs(scope["query_string"].decode())["seconds"][0]))
    status, said = 200, {"said": "ok"}
    if scope["path"].endswith("/upload"):
        status, said = await _read(receive)
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(said).encode()})


async def _read(receive: Receive) -> tuple[int, dict[str, str]]:
    digest, size = hashlib.sha256(), 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return 400, {"said": f"cut after {size} bytes"}
        part = message.get("body", b"")
        size += len(part)
        digest.update(part)
        if not message.get("more_body"):
            return 200, {"bytes": str(size), "sha256": digest.hexdigest()}
