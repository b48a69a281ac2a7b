"""Whether a host can take what the plan brings: pure comparison of the plan with the host's state."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from farrier import paths
from farrier.gpus_found import differences, lines
from farrier.nvidia.look import Look
from farrier.plan.model import Plan, StackPlan
from farrier.values import human_size

_FRONT_UNIT = "caddy.service"
_CADDYFILE_OURS = "# Farrier:"
_CADDYFILE_PACKAGED = "# The Caddyfile is an easy way to configure your Caddy web server."


class HostState(BaseModel):
    """What the module host_state found; sizes in bytes."""

    os: dict[str, str]
    memory: int
    disks: dict[str, dict[str, int]]
    gpu: Look = Look(cards=())
    listeners: list[dict[str, Any]]
    packages: dict[str, str]
    users: dict[str, dict[str, Any] | None]
    units: dict[str, str]
    launchers: dict[str, str] = {}
    envs: list[str]
    models: list[str]
    live: dict[str, str]
    caddyfile: str | None


@dataclass(frozen=True)
class Limits:
    """`tolerance`: the fraction by which memory and disk may fall short. `systems`: versions by distribution."""

    tolerance: float
    systems: Mapping[str, Sequence[str]]


def findings(plan: Plan, state: HostState, limits: Limits) -> list[str]:
    """Everything that stands in the way, each with its remedy; empty when the host is ready."""
    checks = (
        _system(state, limits),
        _memory(plan, state, limits),
        _disk(plan, state, limits),
        _gpus(plan, state),
        _ports(plan, state),
        _users(plan, state),
        _units(plan, state),
        _launchers(plan, state),
        _caddyfile(state),
    )
    return [finding for check in checks for finding in check]


def _system(state: HostState, limits: Limits) -> Iterator[str]:
    if state.os["version_id"] not in limits.systems.get(state.os["id"], ()):
        known = "; ".join(f"{name} {', '.join(versions)}" for name, versions in limits.systems.items())
        yield f"{state.os['pretty_name'] or state.os['id']} is not supported; install one of: {known}"
    if state.os["machine"] != "x86_64":
        yield f"the machine is {state.os['machine']}; Farrier's environments are built for x86_64"


def _memory(plan: Plan, state: HostState, limits: Limits) -> Iterator[str]:
    if state.memory < plan.memory * (1 - limits.tolerance):
        need = ", ".join(f"{stack.name} {human_size(stack.memory)}" for stack in plan.stacks)
        yield (
            f"memory: the stacks need {human_size(plan.memory)} together ({need}), "
            f"the host has {human_size(state.memory)}; lower `limits.memory`, or take a stack off this host "
            "(`farrier_stacks`)"
        )


def disk_needs(plan: Plan, state: HostState) -> dict[str, int]:
    """Bytes that this deploy, and the stacks' data, need below each folder: what is there already is not counted."""
    envs = sum(env.disk for env in plan.envs if env.prefix not in state.envs)
    models = sum(file.size for model in plan.models if model.path not in state.models for file in model.files)
    return {
        paths.ROOT: envs,
        # A live stack has its data already: a disk that they filled must not keep it from being mended.
        paths.STATE: sum(stack.disk for stack in plan.stacks if stack.name not in state.live),
        plan.models_root: models,
    }


def _disk(plan: Plan, state: HostState, limits: Limits) -> Iterator[str]:
    needs, by_device = disk_needs(plan, state), defaultdict(list)
    for folder in needs:
        by_device[state.disks[folder]["device"]].append(folder)
    for folders in by_device.values():
        need, free = sum(needs[folder] for folder in folders), state.disks[folders[0]]["free"]
        if free < need * (1 - limits.tolerance):
            shares = ", ".join(f"{folder} {human_size(needs[folder])}" for folder in folders if needs[folder])
            yield (
                f"disk: {human_size(need)} are needed ({shares}), {human_size(free)} are free; make room on that file "
                "system, or move one of these folders to a larger one"
            )


def _gpus(plan: Plan, state: HostState) -> Iterator[str]:
    wrong = differences(plan.gpus, state.gpu.nvidia)
    if wrong:
        to_write = lines(plan.gpus, state.gpu.nvidia)
        yield f"{'; '.join(wrong)}; write into the inventory variables of {plan.host.name}:{to_write}"


def warnings(plan: Plan, state: HostState) -> list[str]:
    """What does not stand in the way, and the administrator may not know."""
    without = [f"{stack.name} {service}" for stack in plan.stacks for service in stack.on_cpu]
    without += [f"{stack.name} {left.what}" for stack in plan.stacks for left in stack.left_out]
    if not without or plan.gpus or not state.gpu.nvidia:
        return []
    told = f"{plan.host.name} has GPUs, and none is declared, so these do without: {', '.join(without)}. To give the "
    return [f"{told}cards to stacks, write into its inventory variables:{lines((), state.gpu.nvidia)}"]


def _ports(plan: Plan, state: HostState) -> Iterator[str]:
    wanted = {plan.front.http_port: "farrier_http_port", plan.front.https_port: "farrier_https_port"}
    told = set()
    for listener in state.listeners:
        port = int(listener["port"])
        if port not in wanted or port in told or listener.get("unit") == _FRONT_UNIT:
            continue
        told.add(port)
        holder = f"{listener.get('process', '?')} (PID {listener.get('pid', '?')}, user {listener.get('user', '?')}"
        unit = listener.get("unit", "")
        holder += f", unit {unit})" if unit.endswith((".service", ".socket")) else ")"
        yield f"port {port} is taken by {holder}; stop it, or give the front door another port ({wanted[port]})"


def _users(plan: Plan, state: HostState) -> Iterator[str]:
    for stack in plan.stacks:
        user = state.users.get(stack.user)
        if user is not None and user["comment"] != f"Farrier stack {stack.name}":
            yield (
                f"user '{stack.user}' exists and is not Farrier's (UID {user['uid']}, "
                f"{user['comment'] or 'no comment'}); rename the folder stacks/{stack.name}, or that user"
            )


def unit_files(stack: StackPlan) -> tuple[str, ...]:
    """The names of all unit files that the stack brings."""
    return (*(unit.file for unit in stack.units), f"{stack.name}.target", paths.slice_of(stack.name))


def _units(plan: Plan, state: HostState) -> Iterator[str]:
    for stack in plan.stacks:
        for file in unit_files(stack):
            head = state.units.get(file)
            if head is not None and not head.startswith(f"# Farrier: stack {stack.name}."):
                yield f"unit {file} exists and is not Farrier's; rename that unit, or the folder stacks/{stack.name}"


def _launchers(plan: Plan, state: HostState) -> Iterator[str]:
    for stack in plan.stacks:
        for command in stack.commands:
            line = state.launchers.get(command.launcher)
            if line is not None and not line.startswith(f"# Farrier: stack {stack.name}."):
                yield (
                    f"{command.launcher} exists and is not Farrier's; rename it, or the command '{command.name}' in "
                    f"stacks/{stack.name}/stack.yml"
                )


def _caddyfile(state: HostState) -> Iterator[str]:
    head = state.caddyfile
    if head is not None and not head.startswith((_CADDYFILE_OURS, _CADDYFILE_PACKAGED)):
        yield (
            "/etc/caddy/Caddyfile is somebody's own; move its sites to /etc/caddy/sites/*.caddy, which Farrier's "
            "Caddyfile imports, and remove it"
        )
