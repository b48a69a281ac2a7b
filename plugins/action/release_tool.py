"""Put farrier-release on the host: the package `host/farrier_host`, its command, and its unit for early boot.

And beside it the launchers of the stacks' commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from farrier.plan.model import Plan
from farrier.tool import tool_files


class ActionModule(ActionBase):
    """`plan`: its stacks have commands; the rest of the files is this repository's."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Read the package and send it in one module call."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        files = tool_files(Path(self._loader.get_basedir()), Plan.model_validate(self._task.args["plan"]))
        result.update(self._execute_module("host_files", module_args={"files": files}, task_vars=task_vars))
        result.pop("invocation", None)
        return result
