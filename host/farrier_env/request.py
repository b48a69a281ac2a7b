"""What the installer is asked for, and what it answers: JSON in, JSON out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Mode = Literal["install", "verify"]
Depth = Literal["fast", "full"]
State = Literal["present", "built", "repaired", "absent", "damaged"]


class EnvError(Exception):
    """An env cannot be had; the text says which, why and what to do. What was there before is untouched."""


@dataclass(frozen=True)
class Env:
    """An environment: `prefix` is its folder, `lock` and `pip` are the texts of its two locks, `disk` is in bytes."""

    name: str
    id: str
    prefix: Path
    lock: str
    pip: str | None = None
    disk: int = 0


@dataclass(frozen=True)
class Request:
    """`install` builds what is absent or damaged, `verify` only looks. `mirrors`: channel URL -> real URL."""

    envs: tuple[Env, ...]
    cache: Path
    mode: Mode = "install"
    depth: Depth = "fast"
    mirrors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of one env; `problems` are the damages found before anything was done."""

    name: str
    id: str
    prefix: str
    state: State
    problems: tuple[str, ...] = ()
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def parse(text: str) -> Request:
    """A Request from its JSON text."""
    data = json.loads(text)
    envs = tuple(Env(**{**env, "prefix": Path(env["prefix"])}) for env in data.pop("envs"))
    return Request(**{**data, "envs": envs, "cache": Path(data["cache"])})
