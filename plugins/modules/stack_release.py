#!/usr/bin/python3
"""Ask farrier-release on the host: activate, verify, confirm."""

from __future__ import annotations

DOCUMENTATION = """
module: stack_release
short_description: Make staged releases live, and prove that they work
description:
  - For each stack whose staged release is not live, activates it, runs its verify steps through the front door, and
    confirms it. A stack that fails goes back to the release before; the other stacks are not touched by that.
author: Farrier
options:
  releases: {type: dict, required: true, description: 'Release id by stack, as staged.'}
  verify: {type: bool, default: false, description: Run the verify steps of stacks that are live already too.}
  confirm_within: {type: int, default: 600, description: Seconds after which a release that nobody confirmed goes back.}
"""
EXAMPLES = """
- name: Go live
  stack_release: {releases: {demo: 20260101T120000Z-1a2b3c4}}
"""
RETURN = """
stacks: {description: 'By stack: what was done, and what verify printed.', returned: always, type: dict}
"""

import json
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

_TOOL = "/usr/local/sbin/farrier-release"


def main() -> None:
    """Carry out, stack by stack, and exit."""
    options = {
        "releases": {"type": "dict", "required": True},
        "verify": {"type": "bool", "default": False},
        "confirm_within": {"type": "int", "default": 600},
    }
    module = AnsibleModule(options, supports_check_mode=True)
    runs = {stack: StackRun(module, stack, release) for stack, release in sorted(module.params["releases"].items())}
    for run in runs.values():
        run.carry_out()
    broken = {stack: run.error for stack, run in runs.items() if run.error}
    results: dict[str, Any] = {
        "changed": any(run.activates for run in runs.values()),
        "stacks": {stack: {"activated": run.activates, "said": run.said} for stack, run in runs.items()},
        "diff": [run.diff for run in runs.values() if run.activates],
    }
    if broken:
        fine = [stack for stack in runs if stack not in broken]
        told = "\n".join(f"stack {stack}: {error}" for stack, error in broken.items())
        module.fail_json(msg=told + (f"\nNot affected: {', '.join(fine)}." if fine else ""), **results)
    module.exit_json(**results)


class StackRun:
    """One stack's way from staged to confirmed."""

    def __init__(self, module: AnsibleModule, stack: str, release: str) -> None:
        self.module, self.stack, self.release = module, stack, release
        self.now = live(stack)
        self.activates = self.now.get("active") != release or self.now.get("phase") != "confirmed"
        self.said: list[str] = []
        self.error = ""

    @property
    def diff(self) -> dict[str, str]:
        """The release that was live, and the one that is."""
        before = self.now.get("active") or "nothing"
        return {
            "before_header": self.stack,
            "after_header": self.stack,
            "before": f"{before}\n",
            "after": f"{self.release}\n",
        }

    def carry_out(self) -> None:
        """Activate, verify, confirm; on a failed proof go back at once."""
        if self.module.check_mode or not (self.activates or self.module.params["verify"]):
            return
        within = ["--confirm-within", str(self.module.params["confirm_within"])]
        if self.activates and not self.tool("activate", self.stack, self.release, *within):
            return
        if not self.tool("verify", self.stack):
            if self.activates:
                reason, self.error = self.error, ""
                self.tool("back", self.stack, "--reason", "-", data=reason)
                self.error = f"{reason}\n{self.error or self.said[-1]}"
            return
        if self.activates:
            self.tool("confirm", self.stack, self.release)

    def tool(self, *arguments: str, data: str | None = None) -> bool:
        """Run farrier-release; whether it succeeded. What it said is kept, and its error."""
        rc, out, err = self.module.run_command([_TOOL, *arguments], data=data)
        self.said += out.splitlines()
        if rc != 0:
            self.error = err.strip() or out.strip()
        return bool(rc == 0)


def live(stack: str) -> dict[str, Any]:
    """farrier-release's journal of the stack; empty when there is none."""
    path = f"/opt/farrier/{stack}/state.json"
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        found: dict[str, Any] = json.load(file)
    return found


if __name__ == "__main__":
    main()
