"""What to do with each unit when the live files change: a pure function of the old and the new files."""

from __future__ import annotations

from dataclasses import dataclass

from farrier_host.release.files import FileSet


@dataclass(frozen=True)
class Actions:
    """What systemd is asked to do, in this order; units by name."""

    disable: tuple[str, ...] = ()  # and stop: units that are no longer there
    stop: tuple[str, ...] = ()  # before the files change: a changed socket cannot be replaced under a running service
    enable: tuple[str, ...] = ()  # units that are new, so that an administrator's `disable` of an old one stays
    restart: tuple[str, ...] = ()
    start: tuple[str, ...] = ()  # everything else; running units are not touched


def decide(old: FileSet, new: FileSet) -> Actions:
    """Compare by content: a unit restarts exactly when its text changed, and its text names code and env by hash."""
    changed = {file for file, text in new.units.items() if file in old.units and old.units[file] != text}
    sockets = [file for file in sorted(changed) if file.endswith(".socket")]
    stop = [unit for socket in sockets for unit in (_service_of(socket), socket) if unit in _instances(old)]
    restart = [unit for file in sorted(changed - set(sockets)) for unit in new.starts.get(file, ()) if unit not in stop]
    gone = [unit for unit in old.instances() if unit not in _instances(new)]
    added = [unit for unit in new.instances() if unit not in _instances(old)]
    return Actions(
        disable=(*gone, *_whole(old, new)),
        stop=tuple(stop),
        enable=(*added, *_whole(new, old)),
        restart=tuple(unit for unit in restart if unit not in added),
        start=(*(unit for unit in new.instances() if unit not in restart or unit in added), *_targets(new)),
    )


def _instances(files: FileSet) -> frozenset[str]:
    return frozenset(files.instances())


def _service_of(socket: str) -> str:
    return f"{socket.removesuffix('.socket')}.service"


def _targets(files: FileSet) -> list[str]:
    return [file for file in sorted(files.units) if file.endswith(".target")]


def _whole(present: FileSet, absent: FileSet) -> list[str]:
    """The stack's target, when it is in `present` and not in `absent`."""
    return [target for target in _targets(present) if target not in absent.units]
