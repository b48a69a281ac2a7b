"""`effects`: the plan, the files that it renders to and the host's state in, everything that will happen out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from farrier.effects.host import HostView, LiveStack, Time
from farrier.effects.model import Become, Effects, FileEffect, StackEffects
from farrier.effects.needs import Locks, disks, downloads
from farrier.effects.units import credential_times, decision, unit_effects
from farrier.effects.waits import is_migrated, waits
from farrier.plan.model import Plan, StackPlan
from farrier_host.release import schema

_UNITS = "/etc/systemd/system"
_SITES = "/etc/caddy/sites"


@dataclass(frozen=True)
class Wanted:
    """What the controller would bring besides the plan itself.

    `releases`: text files by path, of each stack. `tool`, `front`: content and mode by path on the host. `locks`: by
    env id.
    """

    releases: Mapping[str, Mapping[str, str]]
    tool: Mapping[str, Mapping[str, str]]
    front: Mapping[str, Mapping[str, str]]
    locks: Mapping[str, Locks]


def effects(plan: Plan, wanted: Wanted, state: HostView) -> Effects:
    """What a deploy of `plan` will do to the host."""
    stacks = tuple(_stack(stack, wanted.releases[stack.name], state) for stack in plan.stacks)
    front = tuple(_differing(wanted.front, state))
    return Effects(
        host=plan.host.name,
        stacks=stacks,
        files=(*front, *_differing(wanted.tool, state)),
        downloads=tuple(downloads(plan, wanted.locks, state)),
        disks=tuple(disks(plan, state)),
        reload_front=bool(front) or any(stack.reload_front for stack in stacks),
    )


def _stack(plan: StackPlan, rendered: Mapping[str, str], state: HostView) -> StackEffects:
    live = state.live_files.get(plan.name, LiveStack()).with_renewed(state.accounts)
    found = decision(plan, rendered, live)
    release: Literal["first", "new", "same"] = "new" if digests(plan, rendered) != live.digests else "same"
    units = tuple(unit_effects(found, live))
    is_mended = bool(units or found.actions.reload or found.actions.reload_front)
    return StackEffects(
        stack=plan.name,
        release="first" if live.release is None else release,
        units=units,
        files=tuple(_files(plan, rendered, live)),
        reload_front=found.actions.reload_front,
        waits=tuple(waits(plan, rendered, live, found, is_proven=release == "new" or is_mended)),
        notes=(
            *_database(rendered, live),
            *_notes(plan, live, state, is_new=release == "new"),
            *_time(state.boxes.get(plan.name), state.lasts),
        ),
    )


def digests(plan: StackPlan, rendered: Mapping[str, str]) -> dict[str, str]:
    """SHA-256 of every file of the release, by path in it."""
    texts = {path: hashlib.sha256(text.encode()).hexdigest() for path, text in rendered.items()}
    return texts | {f"fixtures/{name}": digest for name, digest in plan.fixtures.items()}


def _files(plan: StackPlan, rendered: Mapping[str, str], live: LiveStack) -> Iterator[FileEffect]:
    for path in (*(tree.path for tree in plan.code), *plan.config):
        if path not in live.placed:
            yield FileEffect(path=path, become="new")
    for path, changed in credential_times(plan, live).items():
        if changed != live.credentials.get(path):
            yield FileEffect(path=path, become="changed" if path in live.credentials else "new")
    for folder, inside, old in ((_UNITS, "units/", live.units), (_SITES, "caddy/", live.sites)):
        new = {path.removeprefix(inside): text for path, text in rendered.items() if path.startswith(inside)}
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                become: Become = "new" if name not in old else "changed" if name in new else "removed"
                yield FileEffect(path=f"{folder}/{name}", become=become)


def _database(rendered: Mapping[str, str], live: LiveStack) -> Iterator[str]:
    whole = json.loads(rendered["plan.json"])
    why = schema.refusal(whole, {"schema": live.database or None})
    if why:
        yield f"it will be refused: {why}"
    elif is_migrated(rendered, live):
        before = f"from schema {live.database['writes']} " if live.database else ""
        yield f"the database is brought {before}to schema {whole['schema']['writes']} before the new code serves"


def _notes(plan: StackPlan, live: LiveStack, state: HostView, *, is_new: bool) -> Iterator[str]:
    if live.phase != "confirmed":
        yield (f"an activation is open ({live.phase}): it is taken back first, and what that restarts is not foretold")
    elif live.release is not None and not is_new and plan.name in state.health:
        yield from (f"to be mended: {complaint}" for complaint in state.health[plan.name].complaints)


def _time(box: Time | None, lasts: str) -> Iterator[str]:
    end = f"{datetime.fromtimestamp(box.until, UTC):%Y-%m-%d %H:%M UTC}" if box else ""
    if lasts:
        yield f"it is stopped {lasts} after it went live, unless somebody extends that" + (
            f" (now: {end})" if end else ""
        )
    elif box:
        yield f"it stays for ever: this run gives no farrier_for (now it ends {end})"


def _differing(wanted: Mapping[str, Mapping[str, str]], state: HostView) -> Iterator[FileEffect]:
    for path, file in sorted(wanted.items()):
        found = state.files.get(path)
        digest = hashlib.sha256(file["content"].encode()).hexdigest()
        if found is None or (found.sha256, found.mode) != (digest, file["mode"]):
            yield FileEffect(path=path, become="new" if found is None else "changed")
