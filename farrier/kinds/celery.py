"""Kind `celery`: Celery workers, ours or of a program that knows nothing of Farrier; one unit an instance."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from farrier import paths
from farrier.kinds.base import Kind, PythonService, Resolved, Surroundings, gpu_context, python_context
from farrier.plan.model import Unit
from farrier.values import Name

_DEFAULT_MEMORY = 256 * 2**20  # bytes an instance


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
    pool: Literal["prefork", "threads"] | None = Field(None, description="Foreign: Celery's pool; prefork if not set.")
    concurrency: int | None = Field(
        None, ge=1, le=256, strict=True, description="Foreign: jobs at a time in one worker; 1 if not set."
    )

    def units(self, stack: str, name: str) -> tuple[str, ...]:
        """One a replica."""
        return tuple(f"{stack}-{name}@{index}.service" for index in range(self.replicas))

    @model_validator(mode="after")
    def _foreign_keys(self) -> Celery:
        given = [key for key in ("broker", "pool", "concurrency") if getattr(self, key) is not None]
        if given and self.contract != "foreign":
            raise ValueError(f"{' and '.join(given)}: only with `contract: foreign`; our own workers know theirs")
        return self


def _resolve(name: str, service: Celery, around: Surroundings) -> Resolved:
    foreign = service.contract == "foreign"
    context = python_context(name, service, around) | {"queues": service.queues}
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
    memory = (service.limits.memory or _DEFAULT_MEMORY) * service.replicas
    return Resolved(units=units, memory=memory)


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
