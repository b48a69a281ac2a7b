"""The smallest stack: one ASGI application without a framework."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], _receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
    """Answer every HTTP request with a greeting."""
    if scope["type"] != "http":
        raise RuntimeError("hello speaks HTTP only")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"Hello from Farrier\n"})
