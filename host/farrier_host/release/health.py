"""Whether a live release is as it should be: its files, its units, its gates. Reads only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from farrier_host.release import files, systemd
from farrier_host.release.http import status_of
from farrier_host.release.layout import Layout

_GATE_REQUEST = 5.0  # seconds


def complaints(layout: Layout, stack: str, release: str) -> list[str]:
    """What of `release`, which is live, is not as it should be; one line each. Empty: all is well.

    A unit that an administrator disabled or masked is left alone, and readiness, which may hang on it, is not judged.
    """
    plan, wanted = files.read_plan(layout, stack, release), files.of_release(layout, stack, release)
    found = files.live(layout, stack, wanted.starts)
    down = systemd.kept_down(wanted.instances())
    up = [unit for unit in wanted.instances() if unit not in down]
    told = [f"{name} is not what the release says" for name in _differing(wanted.units, found.units)]
    told += [f"{name} is not what the release says" for name in _differing(wanted.sites, found.sites)]
    told += [f"{unit} does not run" for unit in up if unit not in systemd.running(up)]
    told += [f"{unit} started before its credentials changed" for unit in outdated(plan, up)]
    told += [f"{gate['unit']} is not ready" for gate in plan["gates"] if not down and not _is_ready(gate)]
    current = layout.home(stack) / "current"
    if not current.is_symlink() or current.readlink().name != release:
        told.append("the link `current` leads elsewhere")
    return told


def outdated(plan: dict[str, Any], units: list[str]) -> list[str]:
    """Those of `units` that were given credentials which have changed since: systemd hands them over at a start."""
    found = []
    for unit in plan["units"]:
        context = unit["context"]
        paths = [*context.get("credentials", {}).values(), *([context["acl"]] if "acl" in context else [])]
        changed = max((int(Path(path).stat().st_mtime) for path in paths if Path(path).exists()), default=0)
        for name in unit["starts"]:
            started = systemd.started(name) if changed and name in units and name.endswith(".service") else None
            if started is not None and changed > started:
                found.append(name)
    return found


def _differing(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def _is_ready(gate: dict[str, Any]) -> bool:
    return status_of(gate["socket"], gate["path"], _GATE_REQUEST)[0] == 200
