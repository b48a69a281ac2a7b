"""Say what a deploy will do to the host: computed on the controller, nothing is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from farrier.effects.gather import predicted
from farrier.effects.text import as_lines
from farrier.plan.model import Plan

REPOSITORY = Path(__file__).resolve().parents[2]


class ActionModule(ActionBase):
    """`plan`; `tree`, where its stack files lie; `state`, as the probe found it; `file` for the prediction as JSON.

    The text for people is in `msg`, and is shown without -v.
    """

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ansible's entry."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = self._task.args
        plan, tree = Plan.model_validate(given["plan"]), Path(given.get("tree") or REPOSITORY)
        found = predicted(REPOSITORY, tree, plan, given["state"])
        if given.get("file"):
            Path(given["file"]).write_text(found.model_dump_json(), encoding="utf-8")
        return result | {"changed": False, "msg": as_lines(found), "_ansible_verbose_always": True}
