"""Read everything that a deploy must know of a host, by one program over standard input, and say what is to be done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from farrier import probe
from farrier.front import front_files, written
from farrier.nvidia.decide import line
from farrier.nvidia.host import gpu_files
from farrier.nvidia.look import Look
from farrier.plan.model import Plan
from farrier.problems import InvalidInput
from farrier.tool import tool_files

REPOSITORY = Path(__file__).resolve().parents[2]
_PYTHON = "/usr/bin/python3 -IBS -"


class ActionModule(ActionBase):
    """Sets the fact `farrier_state`. `plan`: what the host shall become; `tree`: where its stack files come from.

    `locks`: a folder of conda locks that is looked into first, or nothing. `lasts`: the time that the stacks are given.

    A module would cost its start-up on the host again for each thing that it looks at.
    Changes nothing but, for a coming release, times.
    """

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send the probe, and compare what it found with the plan."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        root, plan = REPOSITORY, Plan.model_validate(self._task.args["plan"])
        given = self._task.args
        try:
            tree = Path(given.get("tree") or root)
            values = self._templar.template((task_vars or {}).get("farrier_secrets", {}))
            secrets = {stack: {name: str(value) for name, value in each.items()} for stack, each in values.items()}
            only_look = self._task.check_mode
            request = probe.request(root, tree, plan, given.get("locks"), only_look=only_look, secrets=secrets)
        except InvalidInput as error:
            raise AnsibleActionFail(str(error)) from None
        state = self._ask(probe.program(root, request))
        front = written(front_files(plan.front))
        state["lasts"] = given.get("lasts") or ""
        state["todo"] = probe.todo(plan, state, tool_files(root, plan), front, gpu_files(root, plan))
        result["ansible_facts"] = {"farrier_state": state}
        self._say_what_drives(str((task_vars or {})["inventory_hostname"]), state["gpu"])
        return result

    def _say_what_drives(self, host: str, gpu: dict[str, Any]) -> None:
        """One line where no driver is needed; elsewhere the role `nvidia` has more to say."""
        look = Look.model_validate(gpu)
        if look.driver is None:
            self._display.display(f"{host}: {line(look, declared=False)}")

    def _ask(self, program: bytes) -> dict[str, Any]:
        done = self._low_level_execute_command(_PYTHON, in_data=program)
        said = str(done["stdout"]).strip().splitlines()
        try:
            state: dict[str, Any] = json.loads(said[-1] if done["rc"] == 0 and said else "")
        except ValueError:
            told = str(done["stderr"]).strip() or "\n".join(said)
            raise AnsibleActionFail(f"the probe of the host failed (exit code {done['rc']}): {told}") from None
        return state
