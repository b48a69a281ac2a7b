"""Runs the module of the same name, with a sign of life while units start and a real job is waited for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from farrier.heartbeat import heartbeat

Json = dict[str, Any]


class ActionModule(ActionBase):
    """The module's arguments, and `state`: the host's state as the probe found it.

    Where that left nothing to do to anybody, and nobody asks for a proof, the answer is known without the module.
    """

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        """Ansible's entry."""
        result: Json = super().run(tmp, task_vars)
        args = dict(self._task.args)
        state, releases = args.pop("state", None), args["releases"]
        if state and not args.get("verify") and nothing_to_do(releases, state):
            return result | {
                "changed": False,
                "stacks": {stack: standing(stack, releases[stack]) for stack in releases},
            }
        with heartbeat(Display().display, "going live and proving it"):
            result.update(self._execute_module("stack_release", module_args=args, task_vars=task_vars))
        return result


def nothing_to_do(releases: Mapping[str, str], state: Json) -> bool:
    """Whether these releases are live and well, and no part of the deploy had anything to do before."""
    return not any(state["todo"].values()) and all(state["live"].get(stack) == releases[stack] for stack in releases)


def standing(stack: str, release: str) -> Json:
    """What the module says of a stack whose release is live and well."""
    return {
        "stack": stack,
        "release": release,
        "result": "nothing to do",
        "changed": False,
        "said": [f"{stack}: release {release} is live, and all is well with it"],
        "restarted": [],
        "followers": [],
        "seconds": 0.0,
        "error": "",
    }
