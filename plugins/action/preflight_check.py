"""Compare the host's state with the plan, on the controller: every finding at once, each with its remedy."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from farrier.plan.model import Plan
from farrier.preflight import HostState, Limits, findings, warnings


class ActionModule(ActionBase):
    """`plan`, `state` (as host_state gives it), `tolerance` (a fraction) and `systems` (versions by distribution)."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Fail when there are findings."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = self._task.args
        plan = Plan.model_validate(given["plan"])
        limits = Limits(tolerance=float(given["tolerance"]), systems=given["systems"])
        state = HostState.model_validate(given["state"])
        found = findings(plan, state, limits)
        if found:
            heading = f"{plan.host.name} is not ready; nothing was changed:"
            raise AnsibleActionFail("\n".join([heading, *(f"  {finding}" for finding in found)]))
        result["warnings"] = warnings(plan, state)
        result["msg"] = f"{plan.host.name} is ready"
        return result
