"""Asks a host: runs playbooks/effects.yml, which changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from farrier.effects.model import Effects

_QUIET = {"ANSIBLE_DISPLAY_OK_HOSTS": "no", "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "no", "NO_COLOR": "1"}


class NoAnswer(Exception):
    """The play failed: preflight found something, or the host is away. The text is what Ansible says."""


def ask(root: Path, inventory: str, host: str) -> Effects:
    """The prediction for one host of the inventory. Raises NoAnswer."""
    with tempfile.TemporaryDirectory(prefix="farrier-effects-") as folder:
        answer = Path(folder) / "effects.json"
        tool = Path(sys.executable).parent / "ansible-playbook"
        command = [str(tool), "-i", inventory, "playbooks/effects.yml", "-l", host, "-e", f"effects_file={answer}"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=root, env=os.environ | _QUIET)
        if done.returncode != 0 or not answer.exists():
            raise NoAnswer((done.stdout + done.stderr).strip())
        return Effects.model_validate_json(answer.read_text(encoding="utf-8"))
