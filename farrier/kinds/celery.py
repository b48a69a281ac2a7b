"""Kind `celery`: Celery workers, one unit an instance, each with one job at a time."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from farrier.kinds.base import Kind, PythonService, Resolved, Surroundings, python_context
from farrier.plan.model import Unit
from farrier.values import Name

_DEFAULT_MEMORY = 256 * 2**20  # bytes an instance


class Celery(PythonService):
    """Workers of the queues named. The application says READY and feeds the watchdog itself."""

    kind: Literal["celery"]
    queues: list[Name] = Field(min_length=1, description="The queues that it takes jobs from.")
    replicas: int = Field(
        1, ge=1, le=64, strict=True, description="How many workers; the units are `<stack>-<service>@<i>`."
    )


def _resolve(name: str, service: Celery, around: Surroundings) -> Resolved:
    context = python_context(name, service, around) | {"queues": service.queues}
    instances = tuple(around.unit(name, f"@{index}.service") for index in range(service.replicas))
    unit = Unit(
        file=around.unit(name, "@.service"),
        service=name,
        template="celery@.service.j2",
        starts=instances,
        context=context,
        change="follow",
    )
    memory = (service.limits.memory or _DEFAULT_MEMORY) * service.replicas
    return Resolved(units=(unit,), memory=memory)


KIND = Kind(name="celery", model=Celery, anchor="@0.service", resolve=_resolve)
