"""What the releases on a host need: the code, configuration, envs and models that their plans name."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farrier_host.release.layout import Layout

HOUR = 3600.0  # nothing that writes beside its place takes that long between two files
_RELEASE = re.compile(r"\d{8}T\d{6}Z-.+")
_PART = ".part"  # a release that is being staged


class Damaged(Exception):
    """A release's plan cannot be read, so nobody knows what it needs."""


@dataclass(frozen=True)
class Needed:
    """`envs` by id, `models` as id@version, `paths` of code folders and configuration files, as on the host."""

    envs: frozenset[str]
    models: frozenset[str]
    paths: frozenset[str]


def staged(layout: Layout, stack: str) -> list[str]:
    """The stack's releases, the one last asked for at the end: staging a release again makes it the newest."""
    folders = [path for path in _folders(layout, stack) if not path.name.endswith(_PART)]
    return [path.name for path in sorted(folders, key=lambda path: (path.stat().st_mtime, path.name))]


def abandoned(layout: Layout, stack: str) -> list[Path]:
    """Releases whose staging was cut."""
    parts = [path for path in _folders(layout, stack) if path.name.endswith(_PART)]
    return [path for path in parts if is_old(path, HOUR)]


def needed(layout: Layout) -> Needed:
    """What the releases of all stacks need, those included that are being staged. Raises Damaged."""
    plans = [(path, _plan(path)) for path in _plans(layout)]
    try:
        return Needed(
            frozenset(env for _, plan in plans for env in plan["envs"]),
            frozenset(model for _, plan in plans for model in plan["models"]),
            frozenset(path for _, plan in plans for path in _paths(plan)),
        )
    except (KeyError, TypeError) as error:
        raise Damaged(f"a release's plan.json does not say what it needs ({error})") from None


def model_stores(layout: Layout) -> list[str]:
    """The model stores that the releases name."""
    stores = set()
    for path in _plans(layout):
        try:
            stores.add(_plan(path).get("models_root"))
        except Damaged:
            continue
    return sorted(store for store in stores if isinstance(store, str) and store.startswith("/"))


def is_old(path: Path, seconds: float) -> bool:
    """Whether `path` was last touched longer ago than that; a time in the future, of a stepped clock, is not old."""
    return path.lstat().st_mtime < time.time() - seconds


def _folders(layout: Layout, stack: str) -> list[Path]:
    found = (layout.home(stack) / "releases").glob("[0-9]*")
    return [path for path in found if _RELEASE.fullmatch(path.name) and path.is_dir() and not path.is_symlink()]


def _plans(layout: Layout) -> Iterator[Path]:
    for stack in layout.stacks():
        cut = abandoned(layout, stack)
        yield from (folder / "plan.json" for folder in _folders(layout, stack) if folder not in cut)


def _plan(path: Path) -> dict[str, Any]:
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Damaged(f"{path} cannot be read ({error})") from None
    if not isinstance(plan, dict):
        raise Damaged(f"{path} is not a plan")
    return plan


def _paths(plan: dict[str, Any]) -> Iterator[str]:
    yield from (tree["path"] for tree in plan["code"])
    yield from plan["config"]
