"""The checks of a deploy as data, with every file that it would put, for the pyinfra deploy beside this."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from farrier.front import front_files, written
from farrier.plan.model import Plan, StackPlan
from farrier.staging import Staged, staged_files
from farrier.tool import tool_files

Json = dict[str, Any]


def write_wanted(root: Path, plan: Plan, locks: str, folder: Path) -> Path:
    """Write the files, and `host.json` that names them, into `folder`; the path of the latter."""
    small = tool_files(root, plan) | written(front_files(plan.front))
    staged = staged_files(root, root, plan, locks)
    for each in staged:
        small |= {path: {"content": text, "mode": "0644"} for path, text in _live(each).items()}
    wanted = {
        "packages": list(plan.packages),
        "users": [{"user": stack.user, "home": stack.state} for stack in plan.stacks],
        "folders": [each for stack in plan.stacks for each in _folders(stack)],
        "trees": [
            tree for each, stack in zip(staged, plan.stacks, strict=True) for tree in _trees(each, stack, folder)
        ],
        "files": list(_put(small, folder / "files")),
        "present": [f"{model.path}/{file.path}" for model in plan.models for file in model.files],
        "units": [unit for stack in plan.stacks for each in stack.units for unit in each.starts] + ["caddy.service"],
        "gates": [gate.model_dump() for stack in plan.stacks for gate in stack.gates],
    }
    path = folder / "host.json"
    path.write_text(json.dumps(wanted, indent=1))
    return path


def _live(staged: Staged) -> dict[str, str]:
    """Units and Caddy fragments where they are live."""
    texts = {path: content.decode() for path, content in staged.files.items() if path.startswith(("units/", "caddy/"))}
    return {_live_path(path): text for path, text in texts.items()}


def _live_path(path: str) -> str:
    kind, _, name = path.partition("/")
    return {"units": "/etc/systemd/system/", "caddy": "/etc/caddy/sites/"}[kind] + name


def _folders(stack: StackPlan) -> Iterator[Json]:
    for path in (stack.state, *(f"{stack.state}/{inner}" for inner in stack.state_folders)):
        yield {"path": path, "user": stack.user, "mode": "2750"}
    yield {"path": stack.credentials_folder, "user": "root", "mode": "700"}


def _trees(staged: Staged, stack: StackPlan, folder: Path) -> Iterator[Json]:
    for tree in stack.code:
        source = folder / "trees" / stack.name / tree.name
        for inside in tree.files:
            target = source / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(staged.fixed[f"{tree.path}/{inside}"])
        yield {"src": str(source), "dest": tree.path}


def _put(files: Mapping[str, Mapping[str, str]], folder: Path) -> Iterator[Json]:
    for path, file in files.items():
        source = folder / path.lstrip("/")
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(file["content"])
        yield {"src": str(source), "dest": path, "mode": file["mode"].lstrip("0")}
