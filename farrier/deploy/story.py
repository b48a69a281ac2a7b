"""What a run of the main job is doing, out of Ansible's events. Pure: the caller brings events and the time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Phases have the names of the tags that choose them.
_TAGS = {"conda": "envs", "stack": "files"}
GO_LIVE = "stack_release"  # the module that activates, verifies and confirms


@dataclass
class Phase:
    """One role's part of a host's run. `seconds` is None while it lasts."""

    host: str
    name: str
    began: float
    seconds: float | None = None
    changed: list[str] = field(default_factory=list)  # names of tasks
    failed: bool = False


@dataclass
class HostStory:
    """What happened to one host."""

    name: str
    phases: list[Phase] = field(default_factory=list)
    failure: str = ""
    unreachable: bool = False
    went_live: bool = False  # the task that activates had begun
    warnings: list[str] = field(default_factory=list)
    stacks: dict[str, dict[str, Any]] = field(default_factory=dict)  # farrier-release's answer by stack

    @property
    def changed(self) -> list[str]:
        """`phase: task` for each task that changed something."""
        return [f"{phase.name}: {task}" for phase in self.phases for task in phase.changed]

    @property
    def seconds(self) -> float:
        """How long it took."""
        return sum(phase.seconds or 0 for phase in self.phases)


class Story:
    """All hosts of a run, in the order in which they began."""

    def __init__(self) -> None:
        self.hosts: dict[str, HostStory] = {}
        self.current: Phase | None = None
        self.going_live = False  # the task that activates runs now

    def tell(self, event: Mapping[str, Any], now: float) -> None:
        """Take one event of ansible-runner."""
        data = event.get("event_data") or {}
        kind = str(event.get("event", ""))
        if kind == "playbook_on_stats":
            self.close(now)
        if "host" not in data or not kind.startswith("runner_on_"):
            return
        host = self.hosts.setdefault(data["host"], HostStory(data["host"]))
        if kind == "runner_on_start":
            self._began(host, data, now)
        elif kind in _ENDINGS:
            self._ended(host, kind, data)

    def close(self, now: float) -> None:
        """The phase that runs is over."""
        if self.current is not None:
            self.current.seconds = now - self.current.began
            self.current = None

    def cut(self, now: float) -> None:
        """The phase that runs was ended in the middle."""
        if self.current is not None:
            self.current.failed = True
        self.close(now)

    def _began(self, host: HostStory, data: Mapping[str, Any], now: float) -> None:
        name = phase_of(data)
        if self.current is None or (self.current.host, self.current.name) != (host.name, name):
            self.close(now)
            self.current = Phase(host.name, name, now)
            host.phases.append(self.current)
        self.going_live = data.get("task_action") == GO_LIVE
        host.went_live = host.went_live or self.going_live

    def _ended(self, host: HostStory, kind: str, data: Mapping[str, Any]) -> None:
        result = data.get("res") or {}
        phase = host.phases[-1] if host.phases else None
        if data.get("task_action") == GO_LIVE:
            self.going_live = False
            host.stacks |= result.get("stacks") or {}
        host.warnings += [str(warning) for warning in result.get("warnings") or ()]
        if phase is not None and result.get("changed"):
            phase.changed.append(str(data.get("task", "")))
        if kind == "runner_on_unreachable":
            host.unreachable = True
        if kind == "runner_on_unreachable" or (kind == "runner_on_failed" and not data.get("ignore_errors")):
            host.failure = message_of(result)
            if phase is not None:
                phase.failed = True


_ENDINGS = ("runner_on_ok", "runner_on_failed", "runner_on_unreachable")


def phase_of(data: Mapping[str, Any]) -> str:
    """The tag of the role that a task belongs to; a task of the play itself is a phase of its own."""
    role = str(data.get("role") or "")
    return _TAGS.get(role, role) or str(data.get("task") or "play").lower()


def message_of(result: Mapping[str, Any]) -> str:
    """Why a task failed, as it says itself."""
    for key in ("msg", "stderr", "stdout", "reason"):
        said = result.get(key)
        if said:
            return "\n".join(map(str, said)) if isinstance(said, list) else str(said).strip()
    return str(result.get("censored") or "it does not say why")
