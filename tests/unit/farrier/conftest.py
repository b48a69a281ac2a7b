"""A small repository to plan from: stack files as text, with the files that they name."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from farrier.plan.model import Plan
from farrier.planning import plan_for
from farrier.problems import InvalidInput

ROOT = Path(__file__).parents[3]
SMALL = """\
description: A test
sources: {app: {path: code}}
envs: {web: {conda: envs/web.lock}}
services:
  web:
    kind: asgi
    app: hello:app
    env: web
    routes: [{path: /}]
"""
JOBS = """\
description: Jobs
sources: {app: {path: code}}
envs: {app: {conda: envs/web.lock}}
services:
  redis: {kind: redis, memory: 100M}
  web: {kind: asgi, app: "hello:make()", env: app, after: {redis: healthy}, routes: [{path: /jobs}]}
  worker: {kind: celery, app: hello:celery, env: app, queues: [fast, slow], replicas: 2, after: {redis: healthy}}
pipelines:
  one: {title: One, env: app, source: app, steps: [{name: first, timeout: 5m}]}
"""


class Repository:
    """Stacks in a temporary folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "stacks").mkdir()
        (root / "stacks" / "models.yml").write_text("models: []\n")
        shutil.copytree(ROOT / "host" / "farrier_host" / "runtime", root / "host" / "farrier_host" / "runtime")

    def stack(self, name: str, text: str = SMALL) -> Path:
        """Write a stack file, with a code folder and a lock beside it."""
        folder = self.root / "stacks" / name
        for inner in ("code", "envs"):
            (folder / inner).mkdir(parents=True, exist_ok=True)
        (folder / "code" / "hello.py").write_text("app = None\n")
        (folder / "envs" / "web.lock").write_text("a lock\n")
        (folder / "stack.yml").write_text(text)
        return folder

    def plan(self, *stacks: str, **variables: Any) -> Plan:
        """The plan of a host with these stacks; more inventory variables by name."""
        return plan_for(self.root, "pegasus", {"farrier_stacks": list(stacks), "ansible_host": "192.0.2.1"} | variables)

    def problems(self, *stacks: str, **variables: Any) -> list[str]:
        """What is wrong with the plan of a host with these stacks, as people read it."""
        with pytest.raises(InvalidInput) as caught:
            self.plan(*stacks, **variables)
        return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


@pytest.fixture
def small() -> str:
    return SMALL


@pytest.fixture
def jobs() -> str:
    return JOBS
