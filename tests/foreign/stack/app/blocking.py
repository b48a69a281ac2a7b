"""A web program whose workers can be blocked: `/block?seconds=300` sleeps in the event loop itself."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def app(scope: Message, _receive: Receive, send: Send) -> None:
    """`/`: the worker's number; `/slow`: it too, later; `/block`: never, nobody else is answered meanwhile."""
    if scope["type"] != "http":
        raise RuntimeError("this program speaks HTTP only")
    seconds = float(parse_qs(scope["query_string"].decode()).get("seconds", ["0"])[0])
    if scope["path"].endswith("/slow"):
        await asyncio.sleep(seconds)
    elif scope["path"].endswith("/block"):
        time.sleep(seconds)  # this is the fault
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
