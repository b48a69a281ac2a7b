"""Decide on the controller what a deploy does about a host's NVIDIA driver, and say it in one line."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from farrier.nvidia.task import Task


class ActionModule(ActionBase):
    """`state` (as host_state gives it), `settings` (of the role), `gpus` (the plan's). Nothing is sent."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Fail with every reason why no driver can be installed."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        task = Task(self._task.args)
        host = str((task_vars or {})["inventory_hostname"])
        if task.decision.problems:
            told = "\n".join(f"  {problem}" for problem in task.decision.problems)
            raise AnsibleActionFail(f"{host}: {task.decision.line}\nnothing was changed:\n{told}")
        self._display.display(f"{host}: {task.decision.line}")
        return result | task.decided()
