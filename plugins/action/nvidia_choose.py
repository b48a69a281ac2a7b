"""Choose the driver's exact versions out of what the host's apt knows."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from farrier.nvidia.choose import choose
from farrier.nvidia.files import PREFERENCES
from farrier.nvidia.policy import parse
from farrier.nvidia.task import Task


class ActionModule(ActionBase):
    """`state`, `settings`, `gpus` as for nvidia_decide; `policy`: what `apt-cache policy` says. Nothing is sent."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Hand on what to install, and the pins that come before it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        task = Task(self._task.args)
        if task.decision.driving is None or task.look.driver is None:
            raise AnsibleActionFail("no driver is to be installed on this host: nvidia_decide says so")
        chosen = choose(task.decision.driving, task.look.driver, task.settings, parse(self._task.args["policy"]))
        if chosen.problems and not self._task.check_mode:
            raise AnsibleActionFail("\n".join(chosen.problems))
        pins = {PREFERENCES: {"content": chosen.preferences, "mode": "0644"}} if chosen.preferences else {}
        # Without a change to apt's sources check mode cannot know more than this.
        notes = {"warnings": [f"not known before apt reads its new sources: {each}" for each in chosen.problems]}
        found = {"first": list(chosen.first), "driver": list(chosen.driver), "files": pins}
        return result | found | (notes if chosen.problems else {})
