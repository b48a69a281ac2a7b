"""Runs the module of the same name, with a sign of life while units start and a real job is waited for."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from farrier.heartbeat import heartbeat


class ActionModule(ActionBase):
    """The module's arguments, unchanged."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ansible's entry."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        with heartbeat(Display().display, "going live and proving it"):
            result.update(self._execute_module("stack_release", module_args=self._task.args, task_vars=task_vars))
        return result
