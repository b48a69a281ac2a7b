"""What every kind of service shares: its keys in the stack file, and what its units know of their surroundings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from farrier import paths
from farrier.plan.model import Bridge, Credential, Gate, GpuCard, GpuShare, Unit
from farrier.values import (
    Capability,
    Card,
    CardCount,
    Duration,
    EnvironmentName,
    Line,
    Memory,
    Name,
    PythonTarget,
    Size,
)


class Strict(BaseModel):
    """A mapping in a YAML file: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(Strict):
    """What the service's processes may use together."""

    memory: Size | None = Field(
        None, ge=2**20, description="Memory above which the kernel ends a process of the service: `512M`."
    )
    cpu: float | None = Field(None, ge=0.01, le=4096, description="CPU cores: `2`, `0.5`.")


class Gpus(Strict):
    """GPU cards of the host, for this service alone or, with `memory`, a share of each; each replica gets its own.

    `all` alone is short for `{count: all}`.
    """

    count: CardCount | None = Field(
        None, description="How many cards; `all`: every one that is nobody's. 1 if not set."
    )
    cards: list[Card] = Field(
        [],
        description="Certain cards in place of a number, each by its place in `farrier_gpus` or by its PCI address.",
    )
    memory: Memory | None = Field(
        None, description="A share of this size on each card; others may have the rest. The whole card, if not set."
    )
    min_capability: Capability | None = Field(None, description='The oldest card that will do: `"7.0"`.')
    without: Literal["cpu", "skip", "fail"] = Field(
        "fail",
        description="On a host that has no GPU for its stacks: `cpu` runs the service all the same; `skip` leaves it "
        "out, with what comes after it; `fail` refuses.",
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        if value == "all":
            return {"count": "all"}
        if not isinstance(value, Mapping | Gpus):
            raise ValueError("write all, or what it needs: {count: 1, memory: 8G}")  # noqa: TRY004 - pydantic tells it
        return value

    @model_validator(mode="after")
    def _one_way(self) -> Gpus:
        if self.cards and self.count is not None:
            raise ValueError("write either count or cards")
        if len(set(self.cards)) != len(self.cards):
            raise ValueError("cards names one card twice")
        return self

    @property
    def number(self) -> int:
        """How many cards a replica gets, where that is a number: cards that are named, or `all`, are not counted."""
        return self.count if isinstance(self.count, int) else 1


class Service(Strict):
    """Keys that every kind of service knows."""

    after: dict[Name, Literal["started", "healthy"]] = Field(
        {},
        description="Services that start first. A unit of these kinds has started when it answers, so both words mean "
        "that. None of them takes this one down with it.",
    )
    limits: Limits = Field(Limits(memory=None, cpu=None), description="Upper bounds, enforced by systemd.")
    environment: dict[EnvironmentName, Line] = Field(
        {}, description="Variables for the service's processes. Never a secret: any local user can read them."
    )


class CodeService(Service):
    """Keys of the kinds that run Python code of one of the stack's sources in one of its envs."""

    env: Name = Field(description="The env (a key under `envs`) that it runs in.")
    source: Name = Field("app", description="The source (a key under `sources`) that holds the module.")
    secrets: list[Name] = Field([], description="Secrets (keys under `secrets`) that its processes may read.")


class PythonService(CodeService):
    """Keys of the kinds that keep an application running."""

    app: PythonTarget = Field(description="What to run: `module:name`, or `module:factory()`.")
    gpus: Gpus | None = Field(None, description="GPU cards that it gets: see `services.<name>.gpus`. `all`, for short.")
    stop_timeout: Duration = Field(30, description="How long work in hand may go on at a stop, before it is killed.")

    def units(self, stack: str, name: str) -> tuple[str, ...]:
        """The services of systemd that it becomes, each of which gets cards of its own."""
        return (f"{stack}-{name}.service",)


@dataclass(frozen=True)
class Surroundings:
    """What the plan knows of a stack before its units are made; all paths are paths on the host."""

    stack: str
    state: str  # the stack's data folder
    credentials: str  # the folder of the stack's credential files
    runtime: str  # the folder of guard.py and gunicorn_conf.py
    prefixes: Mapping[str, str]  # env -> prefix
    code: Mapping[str, str]  # source -> folder
    anchors: Mapping[str, str]  # service -> the unit that others start after
    public_url: str  # where people find the stack; empty where nobody does
    environment: Mapping[str, str]  # for every process that runs the stack's code
    secrets: tuple[str, ...]  # credentials for every process that runs the stack's code
    given: frozenset[str]  # secrets of the stack file whose value the host's variables hold
    gpus: Mapping[str, GpuShare] = field(default_factory=dict)  # unit -> its cards; none for a unit without
    cards: Sequence[GpuCard] = ()  # of the host, by index

    def unit(self, service: str, suffix: str = ".service") -> str:
        """The name of a service's unit: `<stack>-<service>.service`."""
        return f"{self.stack}-{service}{suffix}"


@dataclass(frozen=True)
class Offer:
    """What a service gives to the stack's own code: variables, and credentials by name."""

    environment: Mapping[str, str] = field(default_factory=dict)
    credentials: tuple[Credential, ...] = ()


@dataclass(frozen=True)
class Resolved:
    """What one service becomes: unit files, what its activation waits for, and what it needs on the host."""

    units: tuple[Unit, ...]
    bridges: tuple[Bridge, ...] = ()
    gates: tuple[Gate, ...] = ()
    credentials: tuple[Credential, ...] = ()
    memory: int = 0  # bytes


def _nothing(stack: str, service: str) -> Offer:
    """The offer of a service that the stack's own code does not ask."""
    del stack, service
    return Offer()


@dataclass(frozen=True)
class Kind:
    """One kind of service: its keys, its units, and what the plan must know of it."""

    name: str
    model: type[Service]
    anchor: str  # suffix of the unit that stands for the service: `.service`, `@0.service`
    resolve: Callable[[str, Any, Surroundings], Resolved]
    offer: Callable[[str, str], Offer] = _nothing
    packages: tuple[str, ...] = ()


def common(name: str, service: Service, around: Surroundings) -> dict[str, Any]:
    """What every unit template is given: names, order and limits."""
    limits = service.limits
    return {
        "stack": around.stack,
        "slice": paths.slice_of(around.stack),
        "service": name,
        "state": around.state,
        "after": [around.anchors[other] for other in service.after],
        "memory": limits.memory,
        "cpu_percent": None if limits.cpu is None else round(limits.cpu * 100),
    }


def code_context(name: str, service: CodeService, around: Surroundings) -> dict[str, Any]:
    """What the unit templates of the kinds that run code are given besides: env, code, variables, credentials."""
    own = {"FARRIER_STACK": around.stack, "FARRIER_SERVICE": name, "FARRIER_STATE": around.state}
    credentials = (*around.secrets, *(secret for secret in service.secrets if secret in around.given))
    return common(name, service, around) | {
        "prefix": around.prefixes[service.env],
        "code": around.code[service.source],
        "environment": own | dict(around.environment) | service.environment,
        "credentials": {secret: f"{around.credentials}/{secret}" for secret in credentials},
    }


def python_context(name: str, service: PythonService, around: Surroundings) -> dict[str, Any]:
    """The same for an application that is kept running; `gpu` is for units that have cards, see gpu_context."""
    own = {"app": service.app, "stop_timeout": service.stop_timeout, "gpu": None}
    return code_context(name, service, around) | own


def gpu_context(share: GpuShare, around: Surroundings) -> dict[str, Any]:
    """What a unit template must know of the unit's cards."""
    cards = [around.cards[index] for index in share.cards]
    return {
        "unit": share.unit,
        "cards": [{"index": card.index, "pci": card.pci, "minor": card.minor} for card in cards],
        "memory": share.memory,
    }
