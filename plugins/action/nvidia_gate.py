"""The gate before any reboot: whether every kernel that the host can boot has the driver."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from farrier.nvidia import gate
from farrier.nvidia.task import Task


class ActionModule(ActionBase):
    """`state`, `settings`, `gpus` as for nvidia_decide; `failed`: what apt said when it failed, or nothing.

    Looks at the host again, with the module nvidia_look.
    """

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Fail with every reason; else say what is left: `load`, `reboot`, and the text for people in `say`."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = dict(self._task.args)
        answer = self._execute_module("nvidia_look", module_args={}, task_vars=task_vars)
        if answer.get("failed"):
            raise AnsibleActionFail(str(answer.get("msg")))
        task = Task(given | {"gpu": answer["gpu"]})
        driving, driver = task.decision.driving, task.look.driver
        if driving is None or driver is None:
            raise AnsibleActionFail(f"the host is another one now: {task.decision.line}")
        found = gate.problems(driver, driving.provider, driving.packages)
        failed = str(given.get("failed") or "")
        if found or failed:
            raise AnsibleActionFail("\n".join(["the driver is not whole; the host was not rebooted:", *found, failed]))
        left = task.left()
        return result | {"load": left.load, "reboot": left.reboot, "say": left.say}
