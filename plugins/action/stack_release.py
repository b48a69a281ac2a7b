"""Runs the module of the same name, with a sign of life while units start and a real job is waited for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from farrier.heartbeat import heartbeat

Json = dict[str, Any]
LEAST_PATIENCE = 600  # seconds
SPARE = 120  # seconds besides the proofs, for starting units


class ActionModule(ActionBase):
    """The module's arguments, and `plan`; `state`: the host's state as the probe found it.

    `releases`: what is live, where nothing was staged; `confirm_within`: as long as the proofs may take, where it is 0.
    Where the probe left nothing to do to anybody, and nobody asks for a proof, the answer is known without the module.
    Gives `said` besides: the lines of all stacks.
    """

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        """Ansible's entry."""
        result: Json = super().run(tmp, task_vars)
        args = dict(self._task.args)
        plan, state = args.pop("plan"), args.pop("state")
        releases = args["releases"] = args.get("releases") or live(plan, state)
        args["confirm_within"] = args.get("confirm_within") or patience(plan)
        if not args.get("verify") and nothing_to_do(releases, state):
            stacks = {stack: standing(stack, releases[stack]) for stack in releases}
            result.update(changed=False, stacks=stacks)
        else:
            with heartbeat(Display().display, "going live and proving it"):
                result.update(self._execute_module("stack_release", module_args=args, task_vars=task_vars))
        return result | {"said": [line for stack in result.get("stacks", {}).values() for line in stack["said"]]}


def live(plan: Json, state: Json) -> dict[str, str]:
    """The releases of the plan's stacks that are live."""
    names = [stack["name"] for stack in plan["stacks"]]
    return {name: state["live"][name] for name in names if name in state["live"]}


def patience(plan: Json) -> int:
    """Seconds after which the host takes back what nobody confirmed: longer than all proofs may take together."""
    proofs: int = sum(step["within"] for stack in plan["stacks"] for step in stack["verify"])
    return max(LEAST_PATIENCE, proofs + SPARE)


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
