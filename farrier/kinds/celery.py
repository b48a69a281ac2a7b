"""Kind `celery`: Celery workers, ours or of a program that knows nothing of Farrier; one unit an instance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from farrier import paths
from farrier.kinds.base import Kind, PythonService, Resolved, Service, Surroundings, common, gpu_context, python_context
from farrier.plan.model import Unit
from farrier.values import Name, PositiveDuration

_DEFAULT_MEMORY = 256 * 2**20  # bytes an instance
START_INTERVAL = 300  # seconds in which systemd counts the starts of a worker
_STARTS = 20  # of them that crashes may cost: seven jobs that kill their worker, three attempts each


class Celery(PythonService):
    """Workers of the queues named. One of ours says READY and feeds the watchdog itself; see `contract`."""

    kind: Literal["celery"]
    queues: list[Name] = Field(min_length=1, description="The queues that it takes jobs from.")
    replicas: int = Field(
        1, ge=1, le=64, strict=True, description="How many workers; the units are `<stack>-<service>@<i>`."
    )
    contract: Literal["farrier", "foreign"] = Field(
        "farrier",
        description="`farrier`: built on `app/core`, the ledger keeps its jobs. `foreign`: any Celery program; its "
        "jobs survive a killed or restarted worker, and no more is promised: docs/how-to/foreign-celery.md.",
    )
    broker: Name | None = Field(
        None, description="Foreign: the stack's service of kind `redis` that carries its jobs. None: its own settings."
    )
    idle: PositiveDuration | None = Field(
        None,
        description="A worker that had nothing to do for so long ends, and gives back what it holds; the next job "
        "starts it again: docs/how-to/idle.md. Not for `contract: foreign`.",
    )
    pool: Literal["prefork", "threads"] | None = Field(None, description="Foreign: Celery's pool; prefork if not set.")
    concurrency: int | None = Field(
        None, ge=1, le=256, strict=True, description="Foreign: jobs at a time in one worker; 1 if not set."
    )

    def units(self, stack: str, name: str) -> tuple[str, ...]:
        """One a replica."""
        return tuple(f"{stack}-{name}@{index}.service" for index in range(self.replicas))

    @model_validator(mode="after")
    def _wakeable(self) -> Celery:
        if self.idle is not None and self.contract == "foreign":
            raise ValueError(
                "idle: only for `contract: farrier`; a foreign program does not tell when it has nothing to do, nor "
                "does whoever queues its jobs wake it. Leave `idle` out"
            )
        return self

    @model_validator(mode="after")
    def _foreign_keys(self) -> Celery:
        given = [key for key in ("broker", "pool", "concurrency") if getattr(self, key) is not None]
        if given and self.contract != "foreign":
            raise ValueError(f"{' and '.join(given)}: only with `contract: foreign`; our own workers know theirs")
        return self


def _resolve(name: str, service: Celery, around: Surroundings) -> Resolved:
    foreign = service.contract == "foreign"
    context = python_context(name, service, around) | {
        "queues": service.queues,
        "idle": service.idle,
        "start_interval": START_INTERVAL,
        "start_burst": start_burst(service.idle),
    }
    if foreign:
        context = _foreign(context, service, around)
    instances = service.units(around.stack, name)
    with_gpus = {unit: {"gpu": gpu_context(around.gpus[unit], around)} for unit in instances if unit in around.gpus}
    # Instances with cards have a file each, which systemd prefers to the template's, so that each has its own devices.
    own: dict[str, tuple[str, ...]] = {unit: (unit,) for unit in with_gpus}
    files = own or {around.unit(name, "@.service"): instances}
    units = tuple(
        Unit(
            file=file,
            service=name,
            template="celery-foreign@.service.j2" if foreign else "celery@.service.j2",
            starts=starts,
            context=context | with_gpus.get(file, {}),
            change="follow",
        )
        for file, starts in files.items()
    )
    sockets = () if service.idle is None else (_bells(name, service, around),)
    memory = (service.limits.memory or _DEFAULT_MEMORY) * service.replicas
    return Resolved(units=(*units, *sockets), memory=memory)


def start_burst(idle: int | None) -> int:
    """How many starts systemd allows in START_INTERVAL: those of crashes, and as many as one that sleeps may need."""
    return _STARTS + (math.ceil(START_INTERVAL / idle) if idle else 0)


def bells(stack: str, services: Mapping[str, Service]) -> str:
    """`queue=socket` for each queue and worker that may sleep, the first worker's first; empty where none may."""
    return ":".join(
        f"{queue}={paths.bell(stack, name, index)}"
        for name, service in services.items()
        if isinstance(service, Celery) and service.idle
        for queue in service.queues
        for index in range(service.replicas)
    )


def _bells(name: str, service: Celery, around: Surroundings) -> Unit:
    """The sockets by which sleeping workers are woken, one an instance."""
    return Unit(
        file=around.unit(name, "@.socket"),
        service=name,
        template="celery@.socket.j2",
        starts=tuple(around.unit(name, f"@{index}.socket") for index in range(service.replicas)),
        context=common(name, service, around) | {"bell": paths.bell(around.stack, name, "%i")},
    )


def _foreign(context: dict[str, Any], service: Celery, around: Surroundings) -> dict[str, Any]:
    """What the unit of a foreign program is given besides: of our secrets its broker's alone, and a bounded stop."""
    broker, secret = {}, f"{service.broker}-password"
    if service.broker:
        broker = {
            "FARRIER_BROKER_SOCKET": paths.redis_socket(around.stack, service.broker),
            "FARRIER_BROKER_CREDENTIAL": secret,
        }
    return context | {
        "runtime": around.runtime,
        "pool": service.pool or "prefork",
        "concurrency": service.concurrency or 1,
        "soft_stop": service.stop_timeout if (service.pool or "prefork") == "prefork" else 0,
        "environment": broker | dict(service.environment),
        "credentials": {secret: f"{around.credentials}/{secret}"} if service.broker else {},
    }


KIND = Kind(name="celery", model=Celery, anchor="@0.service", resolve=_resolve)
