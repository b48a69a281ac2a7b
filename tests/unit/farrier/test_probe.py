"""The probe: what it is asked, that it runs from text alone, and what its answer leaves to do."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from farrier import probe
from farrier.plan.model import Plan

ROOT = Path(__file__).parents[3]
TOOL = {"/opt/tool.py": {"content": "tool\n", "mode": "0644"}}
FRONT = {"/etc/front": {"content": "front\n", "mode": "0644"}}
GPUS = {"/etc/gpus": {"content": "gpus\n", "mode": "0644"}}
RELEASE = "20260101T000000Z-1a2b3c4"


@pytest.fixture
def plan(repository: Any, small: str) -> Plan:
    repository.stack("demo", small)
    made: Plan = repository.plan("demo")
    return made


@pytest.fixture
def settled(plan: Plan) -> dict[str, Any]:
    """What the probe finds on a host that is as it should be."""
    content = {"/opt/tool.py": "tool\n", "/etc/front": "front\n", "/etc/gpus": "gpus\n"}
    return {
        "packages": dict.fromkeys(plan.packages, "1.0"),
        "accounts": [],
        "env_problems": {env.prefix: [] for env in plan.envs},
        "installer": True,
        "missing_models": [],
        "files": {
            path: {"sha256": hashlib.sha256(text.encode()).hexdigest(), "mode": "0644"}
            for path, text in content.items()
        },
        "staged": {"demo": RELEASE},
        "live": {"demo": RELEASE},
        "front_up": True,
        "watched": True,
        "not_at_boot": [],
        "boxes": {},
        "lasts": "",
        "health": {"demo": {"phase": "confirmed", "followers": {}, "proven": True, "complaints": []}},
    }


def left(plan: Plan, state: dict[str, Any]) -> dict[str, list[str]]:
    return {part: what for part, what in probe.todo(plan, state, TOOL, FRONT, GPUS).items() if what}


def test_a_host_as_it_should_be_leaves_nothing_to_do(plan: Plan, settled: dict[str, Any]) -> None:
    assert left(plan, settled) == {}


HEALTH = ("health", "demo")
CHANGES: dict[str, tuple[tuple[str, ...], Any, dict[str, list[str]]]] = {
    "a package is missing": (("packages",), {"caddy": "2"}, {"packages": ["python3-venv"]}),
    "a folder has another mode": (("accounts",), ["folder /a"], {"accounts": ["folder /a"]}),
    "the installer is old": (("installer",), False, {"envs": ["the installer is absent, or an older one"]}),
    "a model is missing": (("missing_models",), ["m@1"], {"models": ["m@1"]}),
    "a file is missing": (("files", "/etc/front"), None, {"front": ["/etc/front"]}),
    "a file has another mode": (("files", "/opt/tool.py", "mode"), "0600", {"tool": ["/opt/tool.py"]}),
    "a file has another content": (("files", "/opt/tool.py", "sha256"), "ab" * 32, {"tool": ["/opt/tool.py"]}),
    "nothing like it is staged": (("staged", "demo"), None, {"files": ["demo"]}),
    "another release is live": (("live", "demo"), "20250101T000000Z-old", {"files": ["demo"]}),
    "nothing is live": (("live",), {}, {"files": ["demo"]}),
    "Caddy is down": (("front_up",), False, {"front_up": ["caddy.service"]}),
    "the cards are others": (("files", "/etc/gpus"), None, {"gpus": ["/etc/gpus"]}),
    "nobody watches the cards": (("watched",), False, {"gpus": ["farrier-gpus.service"]}),
    "recovery is off": (("not_at_boot",), ["farrier-x.service"], {"at_boot": ["farrier-x.service"]}),
    "it was given a time, and this run gives none": (("boxes",), {"demo": {"until": 1}}, {"time": ["demo"]}),
    "this run gives a time": (("lasts",), "2h", {"time": ["demo"]}),
    "nobody confirmed it": ((*HEALTH, "phase"), "unconfirmed", {"release": ["demo"]}),
    "a worker follows": ((*HEALTH, "followers"), {"demo-worker@0.service": "7"}, {"release": ["demo"]}),
    "its workers were not proven": ((*HEALTH, "proven"), False, {"release": ["demo"]}),
    "a unit is down": ((*HEALTH, "complaints"), ["demo-web.service does not run"], {"release": ["demo"]}),
}


@pytest.mark.parametrize(("path", "value", "expected"), CHANGES.values(), ids=CHANGES)
def test_each_difference_is_left_to_its_role(
    plan: Plan, settled: dict[str, Any], path: tuple[str, ...], value: Any, expected: dict[str, list[str]]
) -> None:
    state = copy.deepcopy(settled)
    *outer, last = path
    inner = state
    for key in outer:
        inner = inner[key]
    inner[last] = value
    assert left(plan, state) == expected


def test_a_damaged_env_is_named(plan: Plan, settled: dict[str, Any]) -> None:
    (env,) = plan.envs
    settled["env_problems"][env.prefix] = ["bin/python is changed"]
    assert left(plan, settled) == {"envs": [f"{env.id}: bin/python is changed"]}


def test_the_program_needs_nothing_but_python(tmp_path: Path) -> None:
    request = {
        "packages": [],
        "users": ["nobody-has-this-name"],
        "units": [],
        "launchers": [str(tmp_path / "demo-admin"), str(tmp_path / "none")],
        "folders": ["/"],
        "models_root": str(tmp_path),
        "stacks": [],
        "envs": [{"prefix": str(tmp_path / "env")}],
        "asks": [str(tmp_path / "old")],
        "tools": {"folder": str(tmp_path), "content": "any"},
        "wanted_models": [{"id": "m", "version": "1", "path": str(tmp_path / "m"), "files": []}],
        "cache": str(tmp_path),
        "files": [str(tmp_path / "file")],
        "gpus": False,
        "releases": [{"name": "demo", "home": str(tmp_path / "demo"), "files": {}, "fixed": {}}],
    }
    (tmp_path / "old").mkdir()
    os.utime(tmp_path / "old", (1, 1))
    (tmp_path / "demo-admin").write_text("#!/bin/sh\n# Farrier: stack demo.\n")
    (tmp_path / "file").write_text("text")
    (tmp_path / "file").chmod(0o640)
    program = probe.program(ROOT, request)
    done = subprocess.run([sys.executable, "-IBS", "-"], input=program, capture_output=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert found["files"] == {str(tmp_path / "file"): {"sha256": hashlib.sha256(b"text").hexdigest(), "mode": "0640"}}
    assert found["env_problems"] == {str(tmp_path / "env"): ["absent"]}
    assert (tmp_path / "old").stat().st_mtime > 1, "what a coming release asks for is not noted"
    assert found["launchers"] == {str(tmp_path / "demo-admin"): "# Farrier: stack demo."}
    assert found["missing_models"] == ["m@1"]
    assert found["staged"] == {"demo": None}
    live = found["live_files"]["nobody-has-this-name"]
    assert (live["release"], live["units"], live["sites"], live["starts"]) == (None, {}, {}, {})
    assert found["health"]["nobody-has-this-name"]["complaints"] == ["nothing is live"]
