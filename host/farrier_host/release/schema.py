"""Whether a release may go live over the database as it is, and how the program of its migrations is called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# A release from before the stack's schemas had numbers knows the first one.
FIRST = "0001"


def refusal(target_plan: Mapping[str, Any], current_plan: Mapping[str, Any]) -> str | None:
    """Why the release of `target_plan` cannot serve the database as the one of `current_plan` left it; or None."""
    current = current_plan.get("schema")
    writes = _writes(target_plan)
    if not current or writes >= current["floor"]:
        return None
    return (
        f"the database has schema {current['writes']}, which releases of schema {current['floor']} and later can "
        f"serve; this release has schema {writes}. Choose a later release; or stop the stack, restore the snapshot of "
        f"schema {writes} (docs/how-to/migrations.md) and lose what was done since"
    )


def command(plan: Mapping[str, Any], kept_plans: Iterable[Mapping[str, Any]]) -> list[str]:
    """The migration program of a release and its arguments; empty where the stack has no schema.

    `kept_plans`: of the releases that could come back, the one that serves included.
    """
    schema = plan.get("schema")
    if not schema:
        return []
    kept = sorted({_writes(each) for each in kept_plans})
    return [*schema["command"], "--kept", ",".join(kept)]


def _writes(plan: Mapping[str, Any]) -> str:
    return str((plan.get("schema") or {}).get("writes", FIRST))
