"""Reads the locks and the installer on the controller, and hands them to the module in one call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from farrier.heartbeat import heartbeat
from farrier.installer import installer

REPOSITORY = Path(__file__).resolve().parents[2]
ENV_KEYS = ("name", "id", "prefix", "lock", "pip", "disk")


class ActionModule(ActionBase):
    """`envs[].lock` and `envs[].pip` are paths here and texts in the module."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ansible's entry."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = dict(self._task.args)
        root = Path(args.pop("root"))
        args["envs"] = [with_texts(env, root) for env in args["envs"]]
        tools = installer(REPOSITORY)
        args["tools_requirements"], args["tools_sources"], args["tools_content"] = tools
        with heartbeat(Display().display, "installing environments"):
            result.update(self._execute_module("conda_envs", module_args=args, task_vars=task_vars))
        return result


def with_texts(env: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """The env with the content of its locks instead of their paths."""
    known = {key: env[key] for key in ENV_KEYS if key in env}
    for key in ("lock", "pip"):
        if known.get(key):
            known[key] = read(root / known[key], known["id"])
    return known


def read(path: Path, env: str) -> str:
    """The file's text. Fails with the remedy when it is not there."""
    try:
        return path.read_text()
    except OSError as error:
        raise AnsibleActionFail(
            f"env {env}: {path}: {error.strerror}: make it with `farrier lock`, or set conda_root"
        ) from None
