"""Bringing a stack's database to a release's schema, before its code serves."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from farrier_host.release import schema
from farrier_host.release.files import Refused
from farrier_host.release.layout import Layout
from farrier_host.release.systemd import Failed

LIMIT = 3600  # seconds


def check(plan: dict[str, Any], database: dict[str, str]) -> None:
    """Raises Refused when a release cannot serve the database, whose schema and floor are `database` (or unknown)."""
    why = schema.refusal(plan, {"schema": database or None})
    if why:
        raise Refused(why)


def migrate(layout: Layout, stack: str, plan: dict[str, Any]) -> str:
    """Run the release's migration program as the stack's user; what it said. Raises Failed: nothing was changed."""
    command = schema.command(plan, _kept(layout, stack))
    if not command:
        return ""
    unit = f"farrier-migrate-{stack}"
    asked = plan["schema"]
    service = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", f"--unit={unit}"]
    service += [f"--property=RuntimeMaxSec={LIMIT}"]
    service += [f"--property=User={plan['user']}", f"--property=Group={plan['user']}", "--property=UMask=0027"]
    service += [f"--property=WorkingDirectory={asked['code']}"]
    service += [f"--setenv={name}={value}" for name, value in asked["environment"].items()]
    # a plan from before ledgers on a server has none
    service += [f"--property=LoadCredential={name}:{path}" for name, path in asked.get("credentials", {}).items()]
    done = subprocess.run([*service, *command], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(unit, f"the database was not changed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def after(plan: dict[str, Any], database: dict[str, str]) -> dict[str, str]:
    """The database's schema and floor once `plan` has migrated it; an older release leaves a newer one as it is."""
    asked = plan.get("schema")
    if not asked or asked["writes"] < database.get("writes", ""):
        return database
    return {"writes": asked["writes"], "floor": asked["floor"]}


def _kept(layout: Layout, stack: str) -> Iterator[dict[str, Any]]:
    """The plans of all releases that could come back."""
    for path in sorted((layout.home(stack) / "releases").glob("[0-9]*/plan.json")):
        with suppress(OSError, ValueError):  # one that cannot be read cannot come back
            yield json.loads(path.read_text(encoding="utf-8"))
