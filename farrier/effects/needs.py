"""What a host must fetch, and the room that it must have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml

from farrier.effects.host import HostView
from farrier.effects.model import Disk, Download
from farrier.nvidia.decide import decide
from farrier.nvidia.look import System
from farrier.nvidia.settings import Settings
from farrier.plan.model import EnvPlan, Plan
from farrier.preflight import disk_needs

_ENDINGS = (".conda", ".tar.bz2")


@dataclass(frozen=True)
class Locks:
    """The texts of an env's locks."""

    conda: str
    pip: str | None


def downloads(plan: Plan, locks: Mapping[str, Locks], state: HostView) -> Iterator[Download]:
    """Debian packages, environments by id, and models that the host does not have."""
    missing = sorted(set(plan.packages) - state.packages.keys())
    if missing:
        yield Download(what=f"Debian packages: {', '.join(missing)}, and what they need", size=None)
    if _needs_driver(plan, state):
        yield Download(what="NVIDIA's driver, and what it is built with", size=None)
    if plan.envs and not state.installer:
        yield Download(what="the installer of environments", size=None)
    seen = set(state.fetched)
    for env in plan.envs:
        if env.prefix not in state.envs:
            yield from _of_env(env, locks[env.id], seen)
    for model in plan.models:
        if model.path not in state.models:
            yield Download(what=f"model {model.id}@{model.version}", size=sum(file.size for file in model.files))


def _needs_driver(plan: Plan, state: HostView) -> bool:
    """As the role `nvidia` decides that is told nothing else: its own variables are not in the plan."""
    if state.gpu.driver is None or not plan.gpus:
        return False
    return decide(state.gpu, System.model_validate(state.os), Settings(), declared=True).install


def _of_env(env: EnvPlan, locks: Locks, seen: set[str]) -> Iterator[Download]:
    """What the env's locks name and no other env brought: `seen` is added to."""
    sizes = {name: size for name, size in conda_sizes(locks.conda).items() if name not in seen}
    seen |= sizes.keys()
    if sizes:
        known = [size for size in sizes.values() if size is not None]
        size = sum(known) if len(known) == len(sizes) else None
        yield Download(what=f"env {env.id}: {_count(len(sizes), 'conda package')}", size=size)
    wanted = {line.split(" ", 1)[0] for line in (locks.pip or "").splitlines() if line[:1].isalnum()} - seen
    seen |= wanted
    if wanted:
        yield Download(what=f"env {env.id}: {_count(len(wanted), 'Python package')}", size=None)


def conda_sizes(lock: str) -> dict[str, int | None]:
    """Bytes of each conda package that a lock names, by name, version and build; None where it tells no size."""
    found = yaml.load(lock, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    packages = found.get("packages", []) if isinstance(found, dict) else []
    return {_stem(package["conda"]): package.get("size") for package in packages if "conda" in package}


def _stem(url: str) -> str:
    name = url.rpartition("/")[2]
    return next((name.removesuffix(ending) for ending in _ENDINGS if name.endswith(ending)), name)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def disks(plan: Plan, state: HostView) -> Iterator[Disk]:
    """The room that preflight asks for, beside what is free, where any is needed."""
    for folder, need in disk_needs(plan, state).items():
        if need:
            yield Disk(folder=folder, need=need, free=state.disks[folder]["free"])
