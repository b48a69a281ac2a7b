"""What an activation of a stack would find: its live files, and how its units are. Reads only; plain data."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from farrier_host.release import files, state, systemd
from farrier_host.release.bells import sleepers
from farrier_host.release.files import FileSet, Refused
from farrier_host.release.health import strangers
from farrier_host.release.layout import Layout


def survey(layout: Layout, stack: str) -> dict[str, Any]:
    """All that `decide` is told when this host decides, so that another machine can decide the same beforehand.

    `units`, `sites`, `starts`, `changes`: the live files, as farrier-release reads them. `stopped`, `asleep` (those of
    the stopped that are to be so), `kept_down`, `started` (seconds since 1970) are of the units that these start.
    `digests`: SHA-256 of the live release's own files. `database`: its schema, as the last release wrote it.
    `credentials`: when each secret file changed. `placed`: code folders and configuration files that are there.
    """
    now = state.load(layout, stack)
    found = files.live(layout, stack, _put_live(layout, stack, now.active))
    seen = systemd.look(found.instances())
    secrets = layout.credential(stack, "*")
    return {
        "release": now.active,
        "phase": now.phase,
        "database": now.database,
        "units": found.units,
        "sites": found.sites,
        "starts": {file: list(units) for file, units in found.starts.items()},
        "changes": found.changes,
        "stopped": [unit for unit, each in seen.items() if each.is_down],
        "asleep": sorted(sleepers(found, seen)),
        "between": [unit for unit, each in seen.items() if not each.is_up and not each.is_down],
        "strangers": strangers(found, seen),
        "kept_down": [unit for unit, each in seen.items() if each.is_kept_down and not each.is_up],
        "started": {unit: each.started for unit, each in seen.items() if each.is_up},
        "placed": [str(path) for kind in ("code", "config") for path in layout.home(stack).glob(f"{kind}/*")],
        "digests": _digests(layout.release(stack, now.active)) if now.active else {},
        "credentials": {str(path): int(path.stat().st_mtime) for path in secrets.parent.glob(secrets.name)},
    }


def _put_live(layout: Layout, stack: str, release: str | None) -> FileSet:
    """The files of the live release; what a release that is gone or damaged started is not known."""
    try:
        return files.of_release(layout, stack, release)
    except (Refused, OSError, ValueError, KeyError):
        return FileSet()


def _digests(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "release.json")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}
