"""The longest that going live may take: every time limit on the way, added up. Mostly it takes seconds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from farrier.effects.host import LiveStack
from farrier.effects.model import Wait
from farrier.effects.units import Decision
from farrier.plan.model import Bridge, StackPlan
from farrier_host.release import migration
from farrier_host.release.decide import effective
from farrier_host.release.files import FileSet
from farrier_host.release.gate import ANSWERED, DRAIN
from farrier_host.release.workers import PATIENCE

_SYSTEMD = 90  # seconds: its own limit for a start or a stop where a unit sets none


def waits(
    plan: StackPlan, rendered: Mapping[str, str], live: LiveStack, found: Decision, *, is_proven: bool
) -> Iterator[Wait]:
    """Each part's limit. `is_proven`: the verify steps run."""
    actions = found.actions
    if is_migrated(rendered, live):
        yield Wait(what="the migration of the database", seconds=migration.LIMIT)
    for unit in (*actions.remove, *actions.restart, *actions.stop):
        yield from _some(f"stop of {unit}", _limit("Stop", unit, found.old))
    for unit in dict.fromkeys((*actions.restart, *actions.start)):
        yield from _some(f"start of {unit}", _limit("Start", unit, found.new))
    bridged = [each for each in plan.bridges if each.unit in actions.bridge]
    yield from (_bridge(each, found) for each in bridged)
    if actions.restart or actions.start:
        others = [gate for gate in plan.gates if gate.unit not in {f"{each.unit}.service" for each in bridged}]
        yield from (Wait(what=f"readiness of {gate.unit}", seconds=gate.within) for gate in others)
    if actions.follow:
        yield Wait(what="idle workers", seconds=round(PATIENCE))
    if is_proven and plan.verify:
        yield Wait(what="the verify steps", seconds=sum(step.within for step in plan.verify))


def is_migrated(rendered: Mapping[str, str], live: LiveStack) -> bool:
    """Whether the release's own schema is another one than the database has."""
    after = migration.after(json.loads(rendered["plan.json"]), live.database)
    return after.get("writes") != live.database.get("writes")


def _bridge(bridge: Bridge, found: Decision) -> Wait:
    """The second generation starts and is ready, the main one answers, stops, starts, is ready; the second one too."""
    service = f"{bridge.unit}.service"
    old, new = (_limit("Stop", service, files) for files in (found.old, found.new))
    ready = _limit("Start", service, found.new) + bridge.within + round(DRAIN + ANSWERED)
    return Wait(what=f"the bridge of {service}", seconds=2 * ready + old + new)


def _some(what: str, seconds: int) -> Iterator[Wait]:
    """Sockets and targets start and stop at once."""
    if what.endswith(".service"):
        yield Wait(what=what, seconds=seconds)


def _limit(kind: str, unit: str, files: FileSet) -> int:
    found = re.findall(rf"^Timeout{kind}Sec=(\d+)$", "\n".join(effective(unit, files)), re.MULTILINE)
    return int(found[-1]) if found else _SYSTEMD
