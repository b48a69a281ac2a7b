"""What must not go to production without a reason: files that nobody else has, channel unstable, personal logs."""

from __future__ import annotations

from farrier.channel import UNSTABLE
from farrier.git import Checkout
from farrier.plan.model import Plan
from farrier.problems import Problem

PRODUCTION = "production"  # the inventory group that is guarded
PERSONAL = "PII_LOGGING_ENABLED"
_YES = ("1", "true", "yes", "on")
_SHOWN = 5


def unguarded(host: str, channel: str, checkout: Checkout, exported: Checkout | None = None) -> list[Problem]:
    """Everything that speaks against a deploy to a production host.

    `checkout` is the tree that the tools come from; `exported` the commit that the stack files come from, if another.
    """
    found = [*_dirty(checkout), *_unpushed(checkout)]
    if exported is not None and exported.commit != checkout.commit:
        found += _unpushed(exported)
    if channel == UNSTABLE:
        message = "channel 'unstable' is not for production: set stable, a version (v1.2.0) or a commit"
        found.append(Problem(f"inventory variables of {host}", 0, "farrier_channel", message))
    return found


def personal_logs(plan: Plan) -> list[Problem]:
    """The services of a plan that would write users' names and addresses into their logs."""
    units = [(stack, unit) for stack in plan.stacks for unit in stack.units]
    names = {
        f"{stack.name}.services.{unit.service}": None
        for stack, unit in units
        if str(unit.context.get("environment", {}).get(PERSONAL, "")).lower() in _YES
    }
    message = f"{PERSONAL} is on: logs would name users and their files; take it out"
    return [Problem("stack", 0, name, message) for name in names]


def remedy(host: str) -> str:
    """What to do besides mending it."""
    return (
        f"{host} is in the group '{PRODUCTION}'. To deploy all the same, say why: `farrier deploy --reason '…'`, or "
        "`-e farrier_reason='…'` with ansible-playbook; the host's history keeps it."
    )


def _dirty(checkout: Checkout) -> list[Problem]:
    if checkout.commit is None:
        return [
            Problem("working tree", 0, "", f"is no git checkout, so nobody can tell what it is ({checkout.complaint})")
        ]
    if not checkout.changed:
        return []
    more = len(checkout.changed) - _SHOWN
    names = ", ".join(checkout.changed[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return [
        Problem("working tree", 0, "", f"differs from commit {checkout.short}: {names}: commit, stash or remove them")
    ]


def _unpushed(checkout: Checkout) -> list[Problem]:
    if checkout.commit is None or checkout.pushed:
        return []
    return [Problem(f"commit {checkout.short}", 0, "", "is on no branch of a remote: push it")]
