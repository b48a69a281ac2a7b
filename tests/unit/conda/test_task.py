"""The Ansible task on this machine, in folders of its own: controller and host are both real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import CHANNEL, ROOT, SmallChannel, served

Json = dict[str, Any]


class Task:
    """A play of the one task `conda_envs`."""

    def __init__(self, folder: Path, envs: list[Json], mirror: str) -> None:
        self.folder, self.host = folder, folder / "host"
        args = {
            "envs": envs,
            "root": str(folder),
            "mirrors": {CHANNEL: mirror},
            "tools": str(self.host / "tools"),
            "cache": str(self.host / "cache"),
        }
        tell = {"copy": {"content": "{{ result | to_json }}", "dest": str(folder / "result.json")}, "check_mode": False}
        tasks = [{"conda_envs": args, "register": "result", "ignore_errors": True}, tell]
        play = {"hosts": "localhost", "gather_facts": False, "connection": "local", "tasks": tasks}
        (folder / "play.yml").write_text(json.dumps([play]))

    def run(self, *options: str) -> Json:
        """The task's result."""
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        tool = str(Path(sys.executable).parent / "ansible-playbook")
        words = [tool, "-i", "localhost,", *options, str(self.folder / "play.yml")]
        done = subprocess.run(words, check=False, text=True, capture_output=True, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        result: Json = json.loads((self.folder / "result.json").read_text())
        return result


def env(folder: Path, lock: str, identity: str = "tool-1") -> Json:
    (folder / "tool.lock").write_text(lock)
    return {"name": "tool", "id": identity, "prefix": str(folder / "host" / "envs" / identity), "lock": "tool.lock"}


@pytest.mark.slow  # it makes the installer's venv; the Molecule scenarios run the same on hosts
def test_check_install_again_drift_and_failure(tmp_path: Path, small: SmallChannel) -> None:
    small.add("tool")
    with served(small.folder) as mirror:
        task = Task(tmp_path, [env(tmp_path, small.lock("tool"))], mirror)

        result = task.run("--check", "--diff")
        assert (result["changed"], result["msg"]) == (True, "would build tool-1")
        assert result["diff"]["after"] == "would build tool-1\n"
        assert not task.host.exists()

        result = task.run()
        assert (result["changed"], result["msg"]) == (True, "built tool-1")
        assert (task.host / "envs" / "tool-1" / "share" / "tool").read_text() == "hello\n"

        result = task.run()
        assert (result["changed"], result["msg"]) == (False, "all present")

        (task.host / "envs" / "tool-1" / "share" / "tool").unlink()
        result = task.run("--check")
        assert (result["changed"], result["msg"]) == (True, "would repair tool-1")
        assert not (task.host / "envs" / "tool-1" / "share" / "tool").exists()

        wrong = env(tmp_path, small.lock("tool").replace("version: 7", "version: 999"), identity="tool-2")
        result = Task(tmp_path, [wrong], mirror).run()
        assert result["failed"]
        assert result["msg"].startswith("env tool-2: its conda lock cannot be read")
        assert sorted(path.name for path in (task.host / "envs").iterdir() if path.is_dir()) == ["tool-1"]


def test_missing_lock_is_told_with_the_remedy(tmp_path: Path) -> None:
    asked = env(tmp_path, "")
    (tmp_path / "tool.lock").unlink()
    result = Task(tmp_path, [asked], "http://127.0.0.1:1").run()
    assert result["failed"]
    assert "tool.lock: No such file or directory: make it with `farrier lock`" in result["msg"]
    assert not (tmp_path / "host").exists()
