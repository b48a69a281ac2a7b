"""Write the front door's configuration: rendered on the controller, one module call."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from farrier.front import front_files, written
from farrier.plan.model import Front


class ActionModule(ActionBase):
    """`front`: the plan's front."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Render and send."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        files = written(front_files(Front.model_validate(self._task.args["front"])))
        result.update(self._execute_module("host_files", module_args={"files": files}, task_vars=task_vars))
        result.pop("invocation", None)
        return result
