"""The probe of a host: the program that is sent, what it is asked, and what its answer leaves to do.

The probe reads; `todo` compares, and is pure. An empty list for a role says that all of its work is done already, so
that it need not send its module.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farrier import paths
from farrier.front import front_files
from farrier.installer import installer
from farrier.nvidia.host import WATCHER, gpu_files
from farrier.plan.model import Plan
from farrier.preflight import unit_files
from farrier.staging import hashes, staged_files
from farrier.tool import tool_files

Json = dict[str, Any]
Files = Mapping[str, Mapping[str, str]]  # path -> content and mode
# What is sent, as packages or single modules: folder, name there, glob.
_SOURCES = (
    ("host", "farrier_probe", "*.py"),
    ("host", "farrier_env", "check.py"),
    ("host", "farrier_env", "request.py"),
    ("host", "farrier_host", "release/*.py"),
    ("plugins", "module_utils", "farrier_*.py"),
    ("plugins", "module_utils", "model_folder.py"),
)
_PACKAGES = ("ansible", "ansible.module_utils", "farrier_env", "farrier_host")
_ACCOUNT_KEYS = ("name", "state", "state_folders", "credentials_folder", "credentials")


def program(root: Path, request: Json) -> bytes:
    """The probe as one Python program for standard input."""
    payload = json.dumps({"sources": _sources(root), "request": request})
    boot = (root / "host" / "farrier_probe" / "boot.py").read_text(encoding="utf-8")
    return f"{boot}\n\nrun({json.dumps(payload)})\n".encode()


def _sources(root: Path) -> dict[str, str]:
    found = dict.fromkeys(_PACKAGES, "")
    for folder, package, pattern in _SOURCES:
        for path in sorted((root / folder / package).glob(pattern)):
            name = ".".join(path.relative_to(root / folder).with_suffix("").parts).removesuffix(".__init__")
            found[name.replace("module_utils.", "ansible.module_utils.")] = path.read_text(encoding="utf-8")
    return found


def request(
    root: Path,
    tree: Path,
    plan: Plan,
    locks: str | None,
    *,
    only_look: bool,
    secrets: Mapping[str, Mapping[str, str]] | None = None,
) -> Json:
    """What the probe shall look at and, unless `only_look`, ask for. Raises InvalidInput for a wrong stack file.

    `root`: this repository; `tree`: where the stack files come from; `secrets`: values that the inventory gives, of
    which the host is sent only hashes.
    """
    whole = plan.model_dump(mode="json")
    return {
        "packages": whole["packages"],
        "users": [stack.name for stack in plan.stacks],
        "units": [file for stack in plan.stacks for file in unit_files(stack)],
        "launchers": [command.launcher for stack in plan.stacks for command in stack.commands],
        "folders": [paths.ROOT, paths.STATE, plan.models_root],
        "models_root": plan.models_root,
        "stacks": [account(stack, secrets or {}) for stack in whole["stacks"]],
        "envs": whole["envs"],
        "asks": [] if only_look else [env.prefix for env in plan.envs],
        "tools": {"folder": f"{paths.ROOT}/tools", "content": installer(root).content},
        "wanted_models": whole["models"],
        "cache": f"{paths.ROOT}/cache",
        "files": sorted({*tool_files(root, plan), *front_files(plan.front), *gpu_files(root, plan)}),
        "gpus": bool(plan.gpus),
        "releases": [
            {"name": each.name, "home": each.home, "files": hashes(each.files), "fixed": hashes(each.fixed)}
            for each in staged_files(root, tree, plan, locks)
        ],
    }


def account(stack: Json, secrets: Mapping[str, Mapping[str, str]]) -> Json:
    """What the host compares its accounts, folders and secrets with."""
    given = {name: hashlib.sha256(value.encode()).hexdigest() for name, value in secrets.get(stack["name"], {}).items()}
    credentials = [
        each | ({"sha256": given.get(each["name"], "")} if each["kind"] == "given" else {})
        for each in stack["credentials"]
    ]
    return {key: stack[key] for key in _ACCOUNT_KEYS} | {"credentials": credentials}


def todo(plan: Plan, state: Json, tool: Files, front: Files, gpus: Files) -> dict[str, list[str]]:
    """What each part of a deploy has to do on the host, for people.

    `tool`, `front` and `gpus`: their files as they should be.
    """
    staged, live = state["staged"], state["live"]
    return {
        "packages": sorted(set(plan.packages) - state["packages"].keys()),
        "accounts": list(state["accounts"]),
        "envs": _envs(plan, state),
        "models": list(state["missing_models"]),
        "files": [stack for stack, release in staged.items() if release is None or live.get(stack) != release],
        "front": differing(front, state["files"]),
        "front_up": [] if state["front_up"] else ["caddy.service"],
        "gpus": differing(gpus, state["files"]) + ([] if state["watched"] else [WATCHER]),
        "tool": differing(tool, state["files"]),
        "at_boot": list(state["not_at_boot"]),
        "time": [stack.name for stack in plan.stacks if state["lasts"] or stack.name in state["boxes"]],
        "release": [stack for stack in staged if not _is_well(state["health"][stack])],
    }


def differing(wanted: Files, found: Mapping[str, Mapping[str, str] | None]) -> list[str]:
    """The paths of `wanted` whose content or mode on the host is another."""
    return sorted(path for path, file in wanted.items() if found.get(path) != _as_found(file))


def _as_found(file: Mapping[str, str]) -> dict[str, str]:
    return {"sha256": hashlib.sha256(file["content"].encode()).hexdigest(), "mode": file["mode"]}


def _envs(plan: Plan, state: Json) -> list[str]:
    found = [f"{env.id}: {problem}" for env in plan.envs for problem in state["env_problems"][env.prefix]]
    return found + ([] if state["installer"] or not plan.envs else ["the installer is absent, or an older one"])


def _is_well(health: Json) -> bool:
    return health["phase"] == "confirmed" and health["proven"] and not health["followers"] and not health["complaints"]
