"""Render every file of every release on the controller, and send them to the host in one module call."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from farrier.plan.model import Plan
from farrier.problems import InvalidInput
from farrier.staging import Staged, staged_files


class ActionModule(ActionBase):
    """Arguments.

    `plan`: the plan as the action `farrier_plan` gives it; `version`: the second part of a new release id; `tree`: the
    repository that the stack files were read from, if not this one; `locks`: a folder that is looked into first.
    """

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Stage all stacks of the plan."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = self._task.args
        root = Path(self._loader.get_basedir())
        try:
            plan = Plan.model_validate(given["plan"])
            staged = staged_files(root, Path(given.get("tree") or root), plan, given.get("locks"))
        except InvalidInput as error:
            raise AnsibleActionFail(str(error)) from None
        arguments = {"version": self._task.args["version"], "stacks": [_payload(stack) for stack in staged]}
        result.update(self._execute_module("release_files", module_args=arguments, task_vars=task_vars))
        # The module's arguments are the files themselves: thousands of lines that nobody asked for.
        result.pop("invocation", None)
        return result


def _payload(stack: Staged) -> dict[str, Any]:
    return {
        "name": stack.name,
        "home": stack.home,
        "files": _encoded(stack.files),
        "fixed": _encoded(stack.fixed),
    }


def _encoded(files: dict[str, bytes]) -> dict[str, str]:
    return {path: base64.b64encode(content).decode("ascii") for path, content in sorted(files.items())}
