"""What happens to the units of one stack: the host's own decision, taken beforehand on the controller."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from farrier.effects.host import LiveStack
from farrier.effects.model import How, UnitEffect
from farrier.plan.model import StackPlan
from farrier_host.release.decide import Actions, decide, effective
from farrier_host.release.files import FileSet, as_set
from farrier_host.release.health import started_before

_LATER = 2**62  # seconds: a secret that the deploy makes is younger than every process


@dataclass(frozen=True)
class Decision:
    """What systemd will be asked to do. `down`: units that an administrator keeps down."""

    old: FileSet
    new: FileSet
    actions: Actions
    down: frozenset[str]
    outdated: frozenset[str]
    asleep: frozenset[str]


def decision(plan: StackPlan, rendered: Mapping[str, str], live: LiveStack) -> Decision:
    """What `farrier-release` will decide when it finds `live` and is to bring the files `rendered`."""
    whole = json.loads(rendered["plan.json"])  # as the host reads it
    old, new = live.files, as_set(rendered, whole)
    outdated = live.strangers | set(started_before(whole, live.started, credential_times(plan, live)))
    actions = decide(old, new, outdated=outdated, stopped=live.stopped, between=live.between, asleep=live.asleep)
    return Decision(old, new, actions, live.kept_down - set(actions.enable), outdated, live.asleep)


def credential_times(plan: StackPlan, live: LiveStack) -> dict[str, int]:
    """When each secret file changed; one that the deploy makes, or whose password it makes, changes then."""
    at = {each.name: f"{plan.credentials_folder}/{each.name}" for each in plan.credentials}
    made = {name for name, path in at.items() if path not in live.credentials or path in live.renewed}
    made |= {each.name for each in plan.credentials if each.of in made}
    return dict(live.credentials) | {f"{plan.credentials_folder}/{name}": _LATER for name in made}


def unit_effects(found: Decision, live: LiveStack) -> Iterator[UnitEffect]:
    """Every unit that becomes another process, comes or goes, in the order in which it happens."""
    for unit, how in _hows(found.actions, live):
        if unit not in found.down or how in ("stop", "end"):
            yield UnitEffect(unit=unit, how=how, why=_why(unit, how, found))


def _hows(actions: Actions, live: LiveStack) -> Iterator[tuple[str, How]]:
    yield from ((unit, "end") for unit in actions.retire)
    yield from ((unit, "stop") for unit in actions.remove if not unit.endswith(".target"))
    yield from ((unit, "restart") for unit in actions.stop if unit not in live.stopped)
    yield from ((unit, "restart") for unit in actions.restart)
    yield from ((unit, "start") for unit in actions.start if unit not in actions.stop or unit in live.stopped)
    for base in actions.bridge:
        yield from ((f"{base}{suffix}", "bridge") for suffix in (".socket", ".service"))
    yield from ((unit, "follow") for unit in actions.follow)


def _why(unit: str, how: How, found: Decision) -> str:
    if how in ("stop", "end"):
        return "no longer wanted"
    if how == "start" and unit not in found.asleep:
        return "new" if unit in found.actions.enable else "it does not run"
    names = changed_settings("\n".join(effective(unit, found.old)), "\n".join(effective(unit, found.new)))
    if names:
        return f"changed: {', '.join(names)}"
    return "older process or credentials" if unit in found.outdated else "with its socket or service"


def changed_settings(before: str, after: str) -> tuple[str, ...]:
    """The settings of a unit that differ, by name; of `Environment=`, the variable."""
    old, new = set(_settings(before)), set(_settings(after))
    return tuple(dict.fromkeys(name for name, _ in sorted(old ^ new)))


def _settings(text: str) -> Iterator[tuple[str, str]]:
    """Name and whole value of each setting; lines that go on are one."""
    for line in text.replace("\\\n", " ").splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            variable = re.match(r'"?(\w+)=', value) if name == "Environment" else None
            yield (variable[1] if variable else name), value
