#!/usr/bin/python
"""Bring conda environments to a host from their locks; the action plugin of the same name reads the files."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.farrier_tools import tools_folder

DOCUMENTATION = r"""
module: conda_envs
short_description: Conda environments from locks, in prefixes named by the locks' hash
description:
  - Builds what is absent or damaged, in one task for all environments, and leaves nothing half done.
  - The work is done by Farrier's installer in a small venv of its own (py-rattler and uv), made first if need be.
  - In check mode nothing is touched; on a host without that venv it says what would be built.
options:
  envs:
    description: The environments.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: Its name in the stack file., type: str, required: true}
      id: {description: Name and hash., type: str, required: true}
      prefix: {description: Its folder on the host., type: path, required: true}
      lock: {description: The conda lock; a path on the controller., type: str, required: true}
      pip: {description: Hashed requirements; a path on the controller., type: str}
      disk: {description: Bytes that it takes., type: int, default: 0}
  root: {description: Folder on the controller that relative paths start from., type: path, required: true}
  mirrors: {description: Channel URL to the URL it is really fetched from., type: dict, default: {}}
  verify: {description: How closely existing ones are looked at., type: str, choices: [fast, full], default: fast}
  tools: {description: Folder of the installer's venvs., type: path, default: /opt/farrier/tools}
  cache: {description: Package cache on the prefixes' file system., type: path, default: /opt/farrier/cache}
"""

EXAMPLES = r"""
- name: Install the environments
  conda_envs:
    envs: [{name: app, id: app-1f0c…, prefix: /opt/farrier/envs/app-1f0c…, lock: stacks/demo/envs/app.lock}]
    root: "{{ playbook_dir }}"
"""

RETURN = r"""
envs:
  description: What became of each. C(state) is present, built or repaired, in check mode also absent or damaged.
  type: list
  returned: always
"""

ENV_OPTIONS = {
    "name": {"type": "str", "required": True},
    "id": {"type": "str", "required": True},
    "prefix": {"type": "path", "required": True},
    "lock": {"type": "str", "required": True},
    "pip": {"type": "str"},
    "disk": {"type": "int", "default": 0},
}
OPTIONS = {
    "envs": {"type": "list", "elements": "dict", "required": True, "options": ENV_OPTIONS},
    "mirrors": {"type": "dict", "default": {}},
    "verify": {"type": "str", "choices": ["fast", "full"], "default": "fast"},
    "tools": {"type": "path", "default": "/opt/farrier/tools"},
    "cache": {"type": "path", "default": "/opt/farrier/cache"},
    # these three are the action plugin's
    "tools_requirements": {"type": "str", "required": True},
    "tools_sources": {"type": "dict", "required": True},
    "tools_content": {"type": "str", "required": True},
}
VERBS = {"built": "built", "repaired": "repaired", "absent": "would build", "damaged": "would repair"}

Json = dict[str, Any]


class ToolsError(Exception):
    """The installer's venv cannot be made."""


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(OPTIONS, supports_check_mode=True)
    os.umask(0o022)  # a hardened host's would keep the stacks' users out
    params = module.params
    tools = Path(tools_folder(params["tools"], params["tools_content"]))
    if module.check_mode:
        finish(module, look(tools, params), made=False)
    try:
        with locked(tools.parent):
            made = make_tools(tools, params["tools_requirements"], params["tools_sources"])
            answer = installer(tools, params, "install")
    except ToolsError as error:
        module.fail_json(msg=str(error), envs=[])
    finish(module, answer, made)


def look(tools: Path, params: Json) -> Json:
    """What is there. Without the installer an env with its marker counts as present."""
    if is_ready(tools):
        return installer(tools, params, "verify")
    return {"envs": [glance(env) for env in params["envs"]]}


def finish(module: AnsibleModule, answer: Json, made: bool) -> NoReturn:
    """Report what was done, or would be."""
    done = [f"{VERBS[env['state']]} {env['id']}" for env in answer["envs"] if env["state"] in VERBS]
    result: Json = {"envs": answer["envs"], "changed": bool(done) or made}
    if "error" in answer:
        module.fail_json(msg=answer["error"], **result)
    if module._diff and done:
        result["diff"] = {"before": "", "after": "".join(f"{line}\n" for line in done)}
    module.exit_json(msg=", ".join(done) or "all present", **result)
    raise AssertionError("exit_json ends the process")


def is_ready(tools: Path) -> bool:
    """Whether the venv is whole."""
    return (tools / ".ready").exists()


def glance(env: Json) -> Json:
    """An env as its marker shows it."""
    state = "present" if (Path(env["prefix"]) / ".ready").exists() else "absent"
    return {"name": env["name"], "id": env["id"], "prefix": env["prefix"], "state": state, "problems": []}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One deploy at a time makes venvs and environments."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_tools(tools: Path, requirements: str, sources: dict[str, str]) -> bool:
    """Make the venv unless it is there; True when it was made. Raises ToolsError and removes what was begun."""
    if is_ready(tools):
        return False
    shutil.rmtree(tools, ignore_errors=True)
    try:
        fill_tools(tools, requirements, sources)
    except BaseException:
        shutil.rmtree(tools, ignore_errors=True)
        raise
    for other in tools.parent.iterdir():
        if other.is_dir() and other != tools:
            shutil.rmtree(other)  # nothing but this module ever ran from it
    return True


def fill_tools(tools: Path, requirements: str, sources: dict[str, str]) -> None:
    """A venv with the pinned packages, and the installer's own files in it."""
    command([sys.executable, "-m", "venv", str(tools)], "is the package python3-venv installed?")
    listing = tools / "requirements.txt"
    listing.write_text(requirements)
    python = tools / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    command([*pip, "--require-hashes", "--requirement", str(listing)], "does this host reach its Python package index?")
    package = next(tools.glob("lib/python3*/site-packages")) / "farrier_env"
    package.mkdir()
    for name, text in sources.items():
        (package / name).write_text(text)
    (tools / ".ready").touch()


def command(words: list[str], question: str) -> None:
    """Run a command; its failure is a ToolsError that asks `question`."""
    done = subprocess.run(words, check=False, text=True, capture_output=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise ToolsError(f"the installer's venv cannot be made ({question})\n{' '.join(words)}\n{said}")


def installer(tools: Path, params: Json, mode: str) -> Json:
    """Hand the request to the installer and return its answer; `error` is in it when an env cannot be had."""
    request = {
        "mode": mode,
        "depth": params["verify"],
        "cache": params["cache"],
        "mirrors": params["mirrors"],
        "envs": params["envs"],
    }
    words = [str(tools / "bin" / "python"), "-I", "-m", "farrier_env"]
    done = subprocess.run(words, check=False, text=True, capture_output=True, input=json.dumps(request))
    try:
        answer: Json = json.loads(done.stdout)
    except ValueError:
        return {"envs": [], "error": f"the installer died with exit code {done.returncode}:\n{done.stderr.strip()}"}
    return answer


if __name__ == "__main__":
    main()
