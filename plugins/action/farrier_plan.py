"""Compute the plan of the host that a play is about to change: the only way from the inventory to the roles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from farrier import git
from farrier.guard import PRODUCTION, personal_logs, remedy, unguarded
from farrier.inventory import pointed
from farrier.lasting import VARIABLE, lasting
from farrier.planning import Planned, planned
from farrier.problems import InvalidInput
from farrier.who import who

REPOSITORY = Path(__file__).resolve().parents[2]


class ActionModule(ActionBase):
    """Sets the facts `farrier_plan`, `farrier_tree` (where stack files come from), `farrier_who`, `farrier_lasts`.

    Takes no arguments: everything is in the inventory and the stack files. Refuses what must not go to production.
    """

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Plan for the task's host; every problem at once when there are any."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        name = str(variables["inventory_hostname"])
        root = REPOSITORY
        ours = {key: variables[key] for key in variables if key.startswith("farrier_") or key == "ansible_host"}
        given = {key: self._templar.template(value) for key, value in ours.items()}
        try:
            made = planned(root, name, given)
            is_production = PRODUCTION in variables.get("group_names", ())
            lasts = lasting(given.get(VARIABLE), host=name, is_production=is_production)
            if is_production:
                result["warnings"] = self._guard(root, name, made, str(given.get("farrier_reason") or "").strip())
        except InvalidInput as error:
            source = Path(variables.get("inventory_file") or variables.get("inventory_dir") or root)
            raise AnsibleActionFail(str(pointed(error, source, name, root))) from None
        tree = {"root": str(made.tree.root), "version": made.tree.version}
        result["ansible_facts"] = {
            "farrier_plan": made.plan.model_dump(mode="json"),
            "farrier_tree": tree,
            "farrier_who": who(),
            "farrier_lasts": lasts,
        }
        return result

    def _guard(self, root: Path, host: str, made: Planned, reason: str) -> list[str]:
        """Refuse what must not go to production; only warn where there is a reason, and in check mode."""
        commit = made.tree.commit
        exported = git.Checkout(commit, pushed=git.is_pushed(root, commit)) if commit else None
        found = [*unguarded(host, made.channel, git.checkout(root), exported), *personal_logs(made.plan)]
        if not found:
            return []
        refusal = InvalidInput(found)
        if not reason and not self._task.check_mode:
            raise AnsibleActionFail(f"{refusal}\n{remedy(host)}")
        because = f"deployed all the same: {reason}" if reason else "a run without --check would be refused"
        told = "\n".join(f"  {problem}" for problem in refusal.problems)
        return [f"{host} is a production host; {because}\n{told}"]
