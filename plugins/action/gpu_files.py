"""Write the unit of the cards' watcher: one module call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from farrier.nvidia.host import gpu_files
from farrier.plan.model import Plan


class ActionModule(ActionBase):
    """`plan`: its `gpus`."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Render and send."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        files = gpu_files(Path(self._loader.get_basedir()), Plan.model_validate(self._task.args["plan"]))
        result.update(self._execute_module("host_files", module_args={"files": files}, task_vars=task_vars))
        result.pop("invocation", None)
        return result
