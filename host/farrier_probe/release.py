"""What of each stack is staged, what is live, and whether that is as it should be."""

from __future__ import annotations

import glob
import json
import os
import subprocess
from typing import Any

from ansible.module_utils import farrier_staged

from farrier_host.release.health import complaints
from farrier_host.release.layout import Layout
from farrier_host.release.survey import survey

ROOT = "/opt/farrier"


def live() -> dict[str, str]:
    """The live release of each stack, from farrier-release's journal."""
    states = {os.path.basename(os.path.dirname(path)): journal(path) for path in glob.glob(f"{ROOT}/*/state.json")}
    return {stack: str(state["active"]) for stack, state in states.items() if state.get("active")}


def boxes() -> dict[str, dict[str, Any]]:
    """The time that stacks were given; those without one stay."""
    found = {os.path.basename(os.path.dirname(path)): journal(path) for path in glob.glob(f"{ROOT}/*/box.json")}
    return {stack: box for stack, box in found.items() if box}


def journal(path: str) -> dict[str, Any]:
    """The state of a stack; empty where there is none, or a damaged one: farrier-release knows how to go on."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def staged(stack: dict[str, Any]) -> str | None:
    """The release that holds the stack's files and is whole, or None."""
    try:
        release, wrong = farrier_staged.missing(stack["home"], stack["files"], stack["fixed"])
    except (OSError, ValueError, KeyError):  # a damaged release.json: staging tells
        return None
    return None if wrong else release


def live_state(stack: str) -> dict[str, Any]:
    """Phase, followers, whether it was proven, live `files`, and `complaints`: what is not as it should be."""
    state = journal(f"{ROOT}/{stack}/state.json")
    active = state.get("active")
    return {
        "phase": state.get("phase"),
        "followers": state.get("followers") or {},
        "proven": state.get("proven", True),
        "files": survey(Layout(), stack),
        "complaints": _complaints(stack, active),
    }


def _complaints(stack: str, active: str | None) -> list[str]:
    try:
        return complaints(Layout(), stack, active) if active else ["nothing is live"]
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a release, its activation tells it better
        return [f"cannot be looked at: {error}"]


def is_up_and_enabled(unit: str) -> bool:
    """Whether the unit runs, and starts at boot."""
    command = ["systemctl", "show", "--property=ActiveState,UnitFileState", unit]
    said = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    return {"ActiveState=active", "UnitFileState=enabled"} <= set(said.splitlines())
