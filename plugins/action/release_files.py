"""Render every file of every release on the controller, and send them to the host in one module call."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from farrier.load import Loaded, SourceFiles, load_stacks, runtime_files
from farrier.plan.model import StackPlan
from farrier.problems import InvalidInput
from farrier.render import release_files


class ActionModule(ActionBase):
    """Arguments.

    `plan`: the plan as the action `farrier_plan` gives it; `version`: the second part of a new release id; `tree`: the
    repository that the stack files were read from, if not this one; `locks`: a folder that is looked into first.
    """

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Stage all stacks of the plan."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        root = Path(self._loader.get_basedir())
        stacks = [StackPlan.model_validate(stack) for stack in self._task.args["plan"]["stacks"]]
        tree = Path(self._task.args.get("tree") or root)
        locks = self._task.args.get("locks")
        try:
            loaded = load_stacks(tree, [stack.name for stack in stacks], root / locks if locks else None)
        except InvalidInput as error:
            raise AnsibleActionFail(str(error)) from None
        arguments = {
            "version": self._task.args["version"],
            "stacks": [_payload(root, *pair) for pair in zip(stacks, loaded, strict=True)],
        }
        result.update(self._execute_module("release_files", module_args=arguments, task_vars=task_vars))
        # The module's arguments are the files themselves: thousands of lines that nobody asked for.
        result.pop("invocation", None)
        return result


def _payload(root: Path, plan: StackPlan, loaded: Loaded) -> dict[str, Any]:
    texts = {path: text.encode() for path, text in release_files(plan, root / "systemd").items()}
    fixtures = {f"fixtures/{name}": path.read_bytes() for name, path in loaded.fixtures.files.items()}
    fixed = {path: text.encode() for path, text in plan.config.items()}
    sources: dict[str, SourceFiles] = loaded.sources | {"runtime": runtime_files(root)}
    for tree in plan.code:
        fixed |= {f"{tree.path}/{inside}": path.read_bytes() for inside, path in sources[tree.name].files.items()}
    return {"name": plan.name, "home": plan.home, "files": _encoded(texts | fixtures), "fixed": _encoded(fixed)}


def _encoded(files: dict[str, bytes]) -> dict[str, str]:
    return {path: base64.b64encode(content).decode("ascii") for path, content in sorted(files.items())}
