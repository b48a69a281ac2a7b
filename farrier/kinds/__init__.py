"""The kinds of service. A new kind is a module here, a template in systemd/ and a line in KINDS."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from farrier.kinds import asgi, celery, redis, timer
from farrier.kinds.base import Kind

KINDS: dict[str, Kind] = {kind.name: kind for kind in (asgi.KIND, celery.KIND, redis.KIND, timer.KIND)}

AnyService = Annotated[asgi.Asgi | celery.Celery | redis.Redis | timer.Timer, Field(discriminator="kind")]
