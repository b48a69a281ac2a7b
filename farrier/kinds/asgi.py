"""Kind `asgi`: a web application under gunicorn with uvicorn workers, behind Caddy on a unix socket."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from farrier import paths
from farrier.kinds.base import Kind, PythonService, Resolved, Strict, Surroundings, gpu_context, python_context
from farrier.plan.model import Bridge, Gate, Unit
from farrier.values import Duration, Hostname, UrlPath

_DEFAULT_MEMORY = 128 * 2**20  # bytes a process, measured for a small FastAPI application
_GATE = 60  # seconds until it must be ready


class Health(Strict):
    """Two kinds of health: *live*, this process answers; *ready*, what it depends on does too."""

    live: UrlPath = Field("/", description="Answers 200 when the process works. Feeds READY and the watchdog.")
    ready: UrlPath | None = Field(None, description="Answers 200 when its dependencies work too. Gates a release.")


class Route(Strict):
    """A URL prefix at the front door."""

    host: Hostname | None = Field(None, description="The hostname; the host's own (`farrier_hostname`) when not given.")
    path: UrlPath = Field("/", description="The URL prefix that goes to this service.")
    strip: bool = Field(False, description="Take the prefix off before the service sees the request.")


class Asgi(PythonService):
    """An ASGI application, restarted without a refused connection and released by a second generation."""

    kind: Literal["asgi"]
    processes: int = Field(2, ge=1, le=64, strict=True, description="Worker processes.")
    health: Health = Field(Health(live="/", ready=None), description="Where it says how it is.")
    routes: list[Route] = Field([], description="What the front door sends to it.")
    request_timeout: Duration = Field(
        20,
        ge=10,
        description="How long a worker may block before it is replaced. A request may take longer while others go on.",
    )


def _resolve(name: str, service: Asgi, around: Surroundings) -> Resolved:
    socket = paths.web_socket(around.stack, name)
    live = paths.live_socket(around.stack, name)
    context = python_context(name, service, around) | {
        "unit": f"{around.stack}-{name}",
        "is_next": False,
        "socket": socket,
        "live_socket": live,
        "runtime": around.runtime,
        "processes": service.processes,
        "live": service.health.live,
        "request_timeout": service.request_timeout,
    }
    cards = sorted({card for share in around.gpus.values() for card in share.cards})
    if cards:  # its readiness tells of the stack's cards, of which it may have none itself
        context["environment"] |= {"FARRIER_STACK_GPUS": ",".join(map(str, cards))}
    share = around.gpus.get(around.unit(name))
    if share:
        context["gpu"] = gpu_context(share, around)
    units = tuple(
        Unit(
            file=around.unit(name, suffix),
            service=name,
            template=f"asgi{suffix}.j2",
            starts=(around.unit(name, suffix),),
            context=context,
            # A second generation would want the first one's cards: requests wait in the socket instead.
            change="restart" if share else "bridge",
        )
        for suffix in (".socket", ".service")
    )
    ready = service.health.ready or service.health.live
    gate = Gate(unit=around.unit(name), socket=socket, path=ready, within=_GATE)
    bridge = Bridge(
        unit=f"{around.stack}-{name}",
        main=socket,
        next=paths.next_socket(around.stack, name),
        live=live,
        path=ready,
        within=_GATE,
    )
    memory = service.limits.memory or service.processes * _DEFAULT_MEMORY
    return Resolved(units=units, bridges=() if share else (bridge,), gates=(gate,), memory=memory)


KIND = Kind(name="asgi", model=Asgi, anchor=".service", resolve=_resolve)
