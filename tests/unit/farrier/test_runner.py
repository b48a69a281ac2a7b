"""Real runs of ansible-runner against this machine: what they leave behind, and how they end early."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from farrier.deploy.runner import Brake, Ended, Play, run_play

ROOT = Path(__file__).parents[3]
SITE = """\
- hosts: all
  gather_facts: false
  connection: local
  tasks:
    - {name: Look, ansible.builtin.command: "echo hidden-value", no_log: true, changed_when: false}
    - {name: Environment, ansible.builtin.command: env, changed_when: false}
    - name: Another phase
      ansible.builtin.include_role: {name: later}
"""
ROLE = '- {name: Later, ansible.builtin.file: {path: "{{ playbook_dir }}/later", state: touch, mode: "0600"}}\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with one play in two phases."""
    shutil.copytree(ROOT / "plugins" / "callback", tmp_path / "plugins" / "callback")
    (tmp_path / "site.yml").write_text(SITE)
    (tmp_path / "hosts.yml").write_text("all: {hosts: {here: {ansible_python_interpreter: /usr/bin/python3}}}\n")
    (tmp_path / "roles" / "later" / "tasks").mkdir(parents=True)
    (tmp_path / "roles" / "later" / "tasks" / "main.yml").write_text(ROLE)
    return tmp_path


def run(root: Path, stop: Path | None = None, *, at_once: str = "") -> tuple[Ended, list[str]]:
    """Run it; the tasks that began. `at_once` ends the run when that task begins."""
    began: list[str] = []

    def on_event(event: Mapping[str, Any]) -> None:
        if event["event"] == "runner_on_start":
            began.append(event["event_data"]["task"])

    play = Play("site.yml", "hosts.yml", variables={"farrier_who": "ann@laptop"})
    brake = Brake(stop or root / "stop", lambda: bool(at_once) and at_once in began)
    return run_play(root, play, on_event, brake), began


def test_no_secret_is_left_behind_and_only_the_owner_may_look(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "token-in-the-environment")
    ended, began = run(root)
    assert ended.code == 0, ended.output
    assert began == ["Look", "Environment", "Another phase", "Later"]
    assert os.environ["SOME_TOKEN"] == "token-in-the-environment"
    files = [path for path in (root / "build" / "runner").rglob("*") if path.is_file()]
    assert files
    # results of tasks are not kept at all: not every task that quotes a secret says no_log
    assert not [path for path in files if path.parent.name == "job_events"]
    for path in files:
        text = path.read_text(errors="replace")
        assert "token-in-the-environment" not in text, path
        assert "hidden-value" not in text, path
    assert (root / "build" / "runner").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (root / "build" / "runner").iterdir()} == {0o700}


def test_the_last_five_runs_are_kept(root: Path) -> None:
    runs = root / "build" / "runner"
    runs.mkdir(parents=True)
    for number in range(7):
        (runs / f"2000010{number}T000000-x").mkdir()
        (runs / f"2000010{number}T000000-x" / "lock").touch()
    ended, _ = run(root)
    assert ended.code == 0, ended.output
    assert len(list(runs.iterdir())) == 5
    assert not (runs / "20000102T000000-x").exists()
    assert (runs / "20000106T000000-x").exists()


def test_a_run_ends_before_its_next_phase_when_asked(root: Path) -> None:
    (root / "stop").touch()
    ended, began = run(root)
    assert ended.code != 0
    assert "Environment" in began
    assert "Later" not in began
    assert not (root / "later").exists()


def test_a_run_ends_at_once_when_asked_twice(root: Path) -> None:
    site = SITE.replace("env,", "sleep 120,")
    (root / "site.yml").write_text(site)
    ended, began = run(root, at_once="Environment")
    assert ended.code == 254
    assert began[-1] == "Environment"


def test_a_play_that_cannot_begin_says_why(root: Path) -> None:
    (root / "site.yml").write_text("- hosts: [\n")
    ended, began = run(root)
    assert ended.code != 0
    assert began == []
    assert "site.yml" in ended.output
