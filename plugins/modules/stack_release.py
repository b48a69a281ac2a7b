#!/usr/bin/python3
"""Ask farrier-release on the host: activate, verify, confirm."""

from __future__ import annotations

DOCUMENTATION = """
module: stack_release
short_description: Make staged releases live, and prove that they work
description:
  - For each stack whose staged release is not live, activates it, runs its verify steps through the front door, and
    confirms it. A stack that fails goes back to the release before; the other stacks are not touched by that.
  - A stack whose release is live already is looked at, and mended where it is not as it should be.
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
    runs = [StackRun(module, stack, release) for stack, release in sorted(module.params["releases"].items())]
    # What is live is mended first: one stack's damaged route would make Caddy refuse another's release.
    for run in sorted(runs, key=lambda run: run.is_trial):
        run.carry_out()
    broken = {run.stack: run.error for run in runs if run.error}
    if broken:
        fine = [run.stack for run in runs if run.stack not in broken]
        told = "\n".join(f"stack {stack}: {error}" for stack, error in broken.items())
        changed = any(run.changes for run in runs)
        module.fail_json(msg=told + (f"\nNot affected: {', '.join(fine)}." if fine else ""), changed=changed)
    module.exit_json(
        changed=any(run.changes for run in runs),
        stacks={run.stack: {"activated": run.changes, "said": run.said} for run in runs},
        diff=[run.diff for run in runs if run.changes],
    )


class StackRun:
    """One stack's way from staged to confirmed; or, when that release is live already, to all being well with it."""

    def __init__(self, module: AnsibleModule, stack: str, release: str) -> None:
        self.module, self.stack, self.release = module, stack, release
        self.said: list[str] = []
        self.error = ""
        state = self.state()
        self.before: str | None = state.get("active")
        self.is_trial = self.before != release or state.get("phase") != "confirmed"
        self.complaints = [] if self.is_trial else self.check()

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return self.is_trial or bool(self.complaints)

    @property
    def diff(self) -> dict[str, str]:
        """The release that was live, or what was not well with it; and the release that is."""
        before = self.complaints or [self.before or "nothing"]
        heads = {"before_header": self.stack, "after_header": self.stack}
        return heads | {"before": "".join(f"{line}\n" for line in before), "after": f"{self.release}\n"}

    def state(self) -> dict[str, Any]:
        """farrier-release's view of the stack; empty where there is none yet."""
        if not os.path.exists(f"/opt/farrier/{self.stack}/releases") or not os.path.exists(_TOOL):
            return {}
        rc, out, _ = self.module.run_command([_TOOL, "status", "--json", self.stack])
        found: dict[str, Any] = json.loads(out)[self.stack] if rc == 0 else {}
        return found

    def check(self) -> list[str]:
        """What is not well with the live release."""
        rc, out, err = self.module.run_command([_TOOL, "check", self.stack])
        return [] if rc == 0 else (out or err).splitlines()

    def carry_out(self) -> None:
        """Activate, verify, confirm; on a failed proof go back at once."""
        if self.module.check_mode:
            return
        if not self.changes and not self.module.params["verify"]:
            self.said.append(f"{self.stack}: release {self.release} is live, and all is well with it")
            return
        within = ["--confirm-within", str(self.module.params["confirm_within"])]
        if self.changes and self.tool("activate", self.stack, self.release, *within) is None:
            return
        self.said += [f"{self.stack}: mended: {complaint}" for complaint in self.complaints]
        proof = self.tool("verify", self.stack, "--release", self.release)
        if proof is None:
            self.take_back()
            return
        self.said += proof
        if self.is_trial:
            self.said += self.tool("confirm", self.stack, self.release) or []

    def take_back(self) -> None:
        """The proof failed: a release on trial goes back at once."""
        if self.is_trial:
            reason, self.error = self.error, ""
            told = self.tool("back", self.stack, "--release", self.release, "--reason", "-", data=reason)
            self.error = f"{reason}\n{self.error or (told or [''])[-1]}"

    def tool(self, *arguments: str, data: str | None = None) -> list[str] | None:
        """Run farrier-release; what it said, or None when it failed (then `error` tells)."""
        rc, out, err = self.module.run_command([_TOOL, *arguments], data=data)
        if rc != 0:
            self.error = err.strip() or out.strip()
            return None
        lines: list[str] = out.splitlines()
        return lines


if __name__ == "__main__":
    main()
