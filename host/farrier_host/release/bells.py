"""Workers that sleep: systemd holds their bell, a socket, and starts them when somebody rings. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping

from farrier_host.release.files import FileSet
from farrier_host.release.systemd import Seen

ASLEEP = 90  # the exit code of a worker that had nothing to do: app/core/idle.py, and its unit
_FOLLOW = "follow"  # how workers go over: see decide
_BELL, _WORKER = ".socket", ".service"


def is_bell(unit: str, files: FileSet) -> bool:
    """Whether a unit is a worker's bell; a web service's socket is none."""
    return unit.endswith(_BELL) and files.change_of(worker_of(unit)) == _FOLLOW


def bell_of(worker: str) -> str:
    """The bell that a worker has, if it has one."""
    return worker.removesuffix(_WORKER) + _BELL


def worker_of(bell: str) -> str:
    """The worker that a bell wakes."""
    return bell.removesuffix(_BELL) + _WORKER


def sleepers(files: FileSet, seen: Mapping[str, Seen]) -> frozenset[str]:
    """Those of the units `seen` that are down as they should be: workers without work, which their bell wakes."""
    return frozenset(
        unit
        for unit, each in seen.items()
        if each.state == "inactive"
        and files.change_of(unit) == _FOLLOW
        and (bell := seen.get(bell_of(unit))) is not None
        and bell.is_up
    )
