"""The Ansible task on this machine, with a file that the controller sends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from .conftest import ROOT, sha256

Json = dict[str, Any]
WEIGHTS = os.urandom(100_000)


def play(folder: Path, digest: str) -> None:
    """Write a play of the one task `models`, for one model with one local file."""
    (folder / "stacks").mkdir()
    (folder / "stacks" / "weights.bin").write_bytes(WEIGHTS)
    file = {"path": "weights.bin", "sha256": digest, "size": len(WEIGHTS), "sources": ["file:weights.bin"]}
    root = str(folder / "store")
    model = {"id": "knee", "version": "1", "path": f"{root}/knee/1", "files": [file]}
    task: Json = {"models": {"models": [model], "root": root, "files_root": str(folder / "stacks")}}
    task |= {"register": "result", "ignore_errors": True}
    tell = {"copy": {"content": "{{ result | to_json }}", "dest": str(folder / "result.json")}, "check_mode": False}
    text = [{"hosts": "localhost", "gather_facts": False, "connection": "local", "tasks": [task, tell]}]
    (folder / "play.yml").write_text(json.dumps(text))


def run(folder: Path, *options: str) -> Json:
    """The task's result."""
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    tool = str(Path(sys.executable).parent / "ansible-playbook")
    words = [tool, "-i", "localhost,", *options, str(folder / "play.yml")]
    done = subprocess.run(words, check=False, text=True, capture_output=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    result: Json = json.loads((folder / "result.json").read_text())
    return result


def test_check_then_bring_then_nothing_to_do(tmp_path: Path) -> None:
    play(tmp_path, sha256(WEIGHTS))
    result = run(tmp_path, "--check", "--diff")
    assert (result["changed"], result["diff"]["after"]) == (True, "model knee@1\n")
    assert not (tmp_path / "store").exists()
    result = run(tmp_path)
    assert (result["changed"], result["models"][0]["state"]) == (True, "fetched")
    assert (tmp_path / "store/knee/1/weights.bin").read_bytes() == WEIGHTS
    result = run(tmp_path)
    assert (result["changed"], result["models"][0]["state"]) == (False, "present")


def test_wrong_sha256_fails_with_one_message_and_no_model(tmp_path: Path) -> None:
    play(tmp_path, "ab" * 32)
    result = run(tmp_path)
    assert result["failed"]
    assert result["msg"] == (
        "model knee@1, file weights.bin cannot be had: file:weights.bin: wrong sha256: "
        f"expected {'ab' * 32}, got {sha256(WEIGHTS)}"
    )
    assert not (tmp_path / "store" / "knee").exists()
