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
  who: {type: str, default: '', description: 'Who deploys, for the lock and the history.'}
  reason: {type: str, default: '', description: 'Why, for the history.'}
  lasts: {type: str, default: '', description: 'The time after which the stacks are stopped, as 2h; empty: never.'}
  keep: {type: int, default: 5, description: Releases of a stack that stay besides the live one and the one before.}
  workers:
    type: str
    default: follow
    choices: [follow, wait, now]
    description: Whether busy workers follow when their job ends, are waited for, or are restarted at once.
"""
EXAMPLES = """
- name: Go live
  stack_release: {releases: {demo: 20260101T120000Z-1a2b3c4}}
"""
RETURN = """
stacks:
  description: What farrier-release says of each stack, with what was said, what restarted and what follows later.
  returned: always
  type: dict
"""

import json
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

_TOOL = "/usr/local/sbin/farrier-release"
_REFUSED = 2
_DONE = (0, 3)  # exit codes; with 3 a worker follows later


def main() -> None:
    """Carry out, stack by stack, and exit."""
    options = {
        "releases": {"type": "dict", "required": True},
        "verify": {"type": "bool", "default": False},
        "confirm_within": {"type": "int", "default": 600},
        "who": {"type": "str", "default": ""},
        "reason": {"type": "str", "default": ""},
        "lasts": {"type": "str", "default": ""},
        "keep": {"type": "int", "default": 5},
        "workers": {"type": "str", "default": "follow", "choices": ["follow", "wait", "now"]},
    }
    module = AnsibleModule(options, supports_check_mode=True)
    runs = [StackRun(module, stack, release) for stack, release in sorted(module.params["releases"].items())]
    # What is live is mended first: one stack's damaged route would make Caddy refuse another's release.
    for run in sorted(runs, key=lambda run: run.is_trial):
        run.carry_out()
    broken = {run.stack: run.outcome["error"] for run in runs if run.outcome["error"]}
    outcomes = {run.stack: run.outcome for run in runs}
    changed = any(run.outcome["changed"] for run in runs)
    if broken:
        fine = [run.stack for run in runs if run.stack not in broken]
        told = "\n".join(f"stack {stack}: {error}" for stack, error in broken.items())
        not_affected = f"\nNot affected: {', '.join(fine)}." if fine else ""
        module.fail_json(msg=told + not_affected, changed=changed, stacks=outcomes)
    module.exit_json(changed=changed, stacks=outcomes, diff=[run.diff for run in runs if run.outcome["changed"]])


class StackRun:
    """One stack's way from staged to confirmed; or, when that release is live already, to all being well with it."""

    def __init__(self, module: AnsibleModule, stack: str, release: str) -> None:
        self.module, self.stack, self.release = module, stack, release
        state = self.state()
        self.before: str | None = state.get("active")
        self.is_trial = self.before != release or state.get("phase") != "confirmed"
        self.complaints = [] if self.is_trial else self.check()
        has_end = os.path.exists(f"/opt/farrier/{stack}/box.json")
        self.is_timed = bool(module.params["lasts"]) or has_end
        self.end = "an end" if has_end else "no end"
        self.outcome: dict[str, Any] = {
            "stack": stack,
            "release": release,
            "result": "",
            "changed": self.is_trial or bool(self.complaints) or self.is_timed,
            "said": [],
            "restarted": [],
            "followers": [],
            "seconds": 0.0,
            "error": "",
        }

    @property
    def diff(self) -> dict[str, str]:
        """The release that was live, or what was not well with it; and the release that is."""
        before = self.complaints or [self.before or "nothing"]
        after = [self.release]
        if self.is_timed:
            before, after = (
                [*before, self.end],
                [*after, f"ends after {self.module.params['lasts'] or 'no time: stays'}"],
            )
        heads = {"before_header": self.stack, "after_header": self.stack}
        return heads | {
            "before": "".join(f"{line}\n" for line in before),
            "after": "".join(f"{line}\n" for line in after),
        }

    def state(self) -> dict[str, Any]:
        """farrier-release's journal of the stack; empty where there is none yet, or where it is damaged."""
        try:
            with open(f"/opt/farrier/{self.stack}/state.json", encoding="utf-8") as file:
                found = json.load(file)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def check(self) -> list[str]:
        """What is not well with the live release."""
        if not os.path.exists(_TOOL):
            return []
        rc, out, err = self.module.run_command([_TOOL, "check", self.stack])
        return [] if rc == 0 else (out or err).splitlines()

    def carry_out(self) -> None:
        """Let farrier-release do it."""
        if self.module.check_mode:
            return
        given = self.module.params
        command = [_TOOL, "deploy", self.stack, self.release, "--json", "--workers", given["workers"]]
        command += [
            "--confirm-within",
            str(given["confirm_within"]),
            "--who",
            given["who"],
            "--reason",
            given["reason"],
        ]
        command += ["--keep", str(given["keep"]), "--for", given["lasts"] or "ever"]
        rc, out, err = self.module.run_command([*command, *(["--verify"] if given["verify"] else [])])
        try:
            self.outcome = json.loads(out)
        except ValueError:  # it refused, or died
            self.outcome["error"] = err.strip() or out.strip() or f"farrier-release ended with {rc}"
            self.outcome["changed"] = False
            self.outcome["result"] = "refused" if rc == _REFUSED else "failed"
        if rc not in _DONE and not self.outcome["error"]:
            self.outcome["error"] = err.strip() or f"farrier-release ended with {rc}"


if __name__ == "__main__":
    main()
