"""Compute the plan of the host that a play is about to change: the only way from the inventory to the roles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from farrier.planning import plan_for
from farrier.problems import InvalidInput


class ActionModule(ActionBase):
    """Sets the fact `farrier_plan`. Takes no arguments: everything is in the inventory and the stack files."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Plan for the task's host; every problem at once when there are any."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        ours = {key: variables[key] for key in variables if key.startswith("farrier_") or key == "ansible_host"}
        given = {key: self._templar.template(value) for key, value in ours.items()}
        try:
            plan = plan_for(Path(self._loader.get_basedir()), variables["inventory_hostname"], given)
        except InvalidInput as error:
            raise AnsibleActionFail(str(error)) from None
        result["ansible_facts"] = {"farrier_plan": plan.model_dump(mode="json")}
        return result
