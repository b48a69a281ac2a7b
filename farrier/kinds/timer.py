"""Kind `timer`: a program that runs to its end again and again, started by a systemd timer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from farrier.kinds.base import CodeService, Kind, Offer, Resolved, Surroundings, code_context
from farrier.plan.model import Unit
from farrier.values import PositiveDuration, PythonModule

_DEFAULT_MEMORY = 128 * 2**20  # bytes while it runs


class Timer(CodeService):
    """A program that is started at a fixed pace: a clean-up, an outbox. The next run waits for the end of the last.

    The stack's own code learns of it by `FARRIER_<NAME>_TIMER`, which holds the timer's unit.
    """

    kind: Literal["timer"]
    run: PythonModule = Field(description="What to run: `python -m …`. It ends by itself; exit code 0 is success.")
    every: PositiveDuration = Field(description="From one start to the next; the first comes with the stack.")
    timeout: PositiveDuration = Field(600, description="After this the run is killed and counts as failed.")
    egress: Literal["none", "internet"] = Field(
        "none", description="Whom it may talk to besides this host. What it needs none for, it should not have."
    )


def _resolve(name: str, service: Timer, around: Surroundings) -> Resolved:
    timer = around.unit(name, ".timer")
    context = code_context(name, service, around)
    # Only programs that write to people need it; a service that does not know it needs no restart for a new address.
    context["environment"] |= {"FARRIER_PUBLIC_URL": around.public_url} if around.public_url else {}
    context |= {
        "run": service.run,
        "every": service.every,
        "timeout": service.timeout,
        "network": "internet" if service.egress == "internet" else "local",
    }
    # Only the timer is started, and restarted when it changes; the next run takes a changed service by itself.
    units = tuple(
        Unit(file=around.unit(name, suffix), service=name, template=f"timer{suffix}.j2", starts=starts, context=context)
        for suffix, starts in ((".timer", (timer,)), (".service", ()))
    )
    return Resolved(units=units, memory=service.limits.memory or _DEFAULT_MEMORY)


def _offer(stack: str, service: str) -> Offer:
    return Offer({f"FARRIER_{service.upper().replace('-', '_')}_TIMER": f"{stack}-{service}.timer"})


KIND = Kind(name="timer", model=Timer, anchor=".timer", resolve=_resolve, offer=_offer)
