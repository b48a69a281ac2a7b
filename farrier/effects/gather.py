"""Reads on the controller what a prediction needs besides the plan and the host's state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from farrier.effects.host import HostView
from farrier.effects.model import Effects
from farrier.effects.needs import Locks
from farrier.effects.predict import Wanted, effects
from farrier.front import front_files, written
from farrier.nvidia.host import gpu_files
from farrier.plan.model import Plan
from farrier.render import release_files
from farrier.tool import tool_files


def predicted(root: Path, tree: Path, plan: Plan, state: dict[str, Any]) -> Effects:
    """What a deploy of `plan` does to the host whose `state` the probe found.

    `root`: this repository; `tree`: the one that the stack files were read from.
    """
    wanted = Wanted(
        releases={stack.name: release_files(stack, root / "systemd") for stack in plan.stacks},
        tool=tool_files(root, plan) | gpu_files(root, plan),
        front=written(front_files(plan.front)),
        locks={env.id: Locks(_text(tree, env.lock), _text(tree, env.pip) if env.pip else None) for env in plan.envs},
    )
    return effects(plan, wanted, HostView.model_validate(state))


def _text(tree: Path, path: str) -> str:
    return (tree / path).read_text(encoding="utf-8")
