"""What to do with each unit when the live files change: pure functions of the old and the new files."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from farrier_host.release.bells import is_bell, worker_of
from farrier_host.release.files import FileSet

BRIDGE, FOLLOW = "bridge", "follow"  # how a running unit goes over to another text; else it is restarted


@dataclass(frozen=True)
class Actions:
    """What systemd is asked to do, in this order; units by name. Whatever is not named here is not touched."""

    remove: tuple[str, ...] = ()  # stop and disable: units that are no longer there
    retire: tuple[str, ...] = ()  # the same, once they have ended their work in hand
    stop: tuple[str, ...] = ()  # before the files change: a changed socket cannot be replaced under a running service
    enable: tuple[str, ...] = ()  # units that are new, so that an administrator's `disable` of an old one stays
    restart: tuple[str, ...] = ()
    start: tuple[str, ...] = ()  # new ones, and those that should run and do not
    bridge: tuple[str, ...] = ()  # web services without suffix: their socket and service go over together
    follow: tuple[str, ...] = ()  # go over when their work in hand is done
    reload: bool = False  # systemd reads the unit files again
    reload_front: bool = False  # Caddy reads its sites again

    @property
    def restarts(self) -> tuple[str, ...]:
        """Every unit whose process is another one afterwards, and was there before."""
        over = (*self.restart, *self.stop, *(f"{base}.service" for base in self.bridge), *self.follow)
        return tuple(sorted(unit for unit in over if not unit.endswith(".socket")))


def decide(
    old: FileSet,
    new: FileSet,
    *,
    touched: Collection[str] | None = None,
    outdated: Collection[str] = (),
    stopped: Collection[str] = (),
    between: Collection[str] = (),
    asleep: Collection[str] = (),
) -> Actions:
    """Compare by content: a unit goes over exactly when its text changed, and its text names code and env by hash.

    `touched`: the units whose processes a cut activation may have changed; where given, they go over, whatever the
    files say, and no others. `outdated`: units that run with credentials that changed since, or with another release's
    code. `stopped`: units that do not run: nothing of theirs needs to be spared. `between`: units that are about to
    start or to stop, with which text nobody knows. `asleep`: those of the stopped that are to be so: they are started
    only where they changed, so that a release proves its workers.
    """
    before, after = set(old.instances()), set(new.instances())
    both = [unit for unit in new.instances() if unit in before]
    kept, deaf = _bells_of_running(new, before, stopped)
    changed = [unit for unit in both if _goes_over(unit, old, new, touched) or unit in outdated or unit in deaf]
    changed = [unit for unit in changed if unit not in kept]
    over = [unit for unit in changed if unit not in stopped]
    # A web service that is down needs no bridge; its socket is then one as any other.
    bridged = [unit for unit in over if new.change_of(unit) == BRIDGE and _service_of(unit) not in stopped]
    follow = [unit for unit in over if new.change_of(unit) == FOLLOW and unit not in between]
    plain = [unit for unit in over if unit not in bridged and unit not in follow]
    late = [unit for unit in between if unit not in over]
    stop = tuple(name for unit in plain if unit.endswith(".socket") for name in (_service_of(unit), unit))
    gone = [unit for unit in old.instances() if unit not in after]
    retire = [unit for unit in gone if old.change_of(unit) == FOLLOW and unit not in stopped]
    added = [unit for unit in new.instances() if unit not in before]
    again = [unit for unit in both if unit in late or (unit in stopped and (unit not in asleep or unit in changed))]
    return Actions(
        remove=(*(unit for unit in gone if unit not in retire), *_targets(old, new)),
        retire=tuple(retire),
        stop=stop,
        enable=(*added, *_targets(new, old)),
        restart=tuple(unit for unit in plain if unit not in stop),
        start=tuple(unit for unit in dict.fromkeys((*added, *stop, *again)) if unit not in kept),
        bridge=tuple(dict.fromkeys(_base(unit) for unit in bridged)),
        follow=tuple(follow),
        reload=old.units != new.units,
        reload_front=old.sites != new.sites,
    )


def _bells_of_running(new: FileSet, before: Collection[str], stopped: Collection[str]) -> tuple[set[str], set[str]]:
    """The bells of workers that run, which are left alone, and those of the workers that run without one.

    systemd starts no socket under a running service: its bell comes with the worker's next start. To stop one under a
    worker would take its bell away for nothing.
    """
    kept = {unit for unit in new.instances() if is_bell(unit, new)}
    kept = {bell for bell in kept if worker_of(bell) in before and worker_of(bell) not in stopped}
    return kept, {worker_of(bell) for bell in kept if bell in stopped or bell not in before}


def _goes_over(unit: str, old: FileSet, new: FileSet, touched: Collection[str] | None) -> bool:
    if touched is not None:
        return unit in touched
    return effective(unit, old) != effective(unit, new)


def effective(unit: str, files: FileSet) -> tuple[str, ...]:
    """All that systemd reads for a unit, in its order: the file, the instance's own before the template's; drop-ins."""
    names = [unit, template_of(unit)] if "@" in unit else [unit]
    text = next((files.units[name] for name in names if name in files.units), "")
    return (text, *(files.units[file] for file in _drop_ins(names, files)))


def _drop_ins(names: list[str], files: FileSet) -> Iterator[str]:
    """Drop-ins of a unit by file name; one for the instance hides the template's of the same name."""
    found: dict[str, str] = {}
    for name in reversed(names):
        found |= {file.rpartition("/")[2]: file for file in files.units if file.startswith(f"{name}.d/")}
    yield from (found[name] for name in sorted(found))


def template_of(unit: str) -> str:
    """`a-worker@.service` of `a-worker@0.service`."""
    name, _, rest = unit.partition("@")
    return f"{name}@.{rest.rpartition('.')[2]}"


def _service_of(unit: str) -> str:
    """The service of a socket; of a service, itself."""
    return f"{_base(unit)}.service"


def _base(unit: str) -> str:
    return unit.rpartition(".")[0]


def _targets(present: FileSet, absent: FileSet) -> list[str]:
    """The stack's target, when it is in `present` and not in `absent`."""
    return [file for file in sorted(present.units) if file.endswith(".target") and file not in absent.units]
