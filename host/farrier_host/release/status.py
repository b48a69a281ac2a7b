"""What is live of each stack: releases, units, health, and what follows later."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from farrier_host import people
from farrier_host.release import files, gate, state, systemd
from farrier_host.release.bells import sleepers
from farrier_host.release.files import Refused
from farrier_host.release.layout import Layout
from farrier_host.release.systemd import Seen
from farrier_host.release.workers import told
from farrier_host.timebox import store
from farrier_host.timebox.box import Box, asked, until

_UNPROVEN = "no worker was free for a real job yet; it is proven by itself when one is"


def known(layout: Layout, stack: str) -> state.State:
    """The state of a stack that is here; Refused for another one."""
    if stack not in layout.stacks():
        raise Refused(f"there is no stack '{stack}' here; stacks: {', '.join(layout.stacks()) or 'none'}")
    return state.load(layout, stack)


def collect(layout: Layout, stack: str) -> dict[str, Any]:
    """Everything that is told of a stack, as `status --json` prints it."""
    now = known(layout, stack)
    wanted = files.of_release(layout, stack, now.active)
    seen = systemd.look(wanted.instances())
    asleep = sleepers(wanted, seen)
    plan = files.read_plan(layout, stack, now.active) if now.active else {"gates": []}
    followers = [{"unit": unit, "job": each["job"], "since": each["since"]} for unit, each in now.followers.items()]
    box = store.load(layout, stack)
    return asdict(now) | {
        "box": _box(layout, stack, box) if box else None,
        "units": [_unit(unit, each, now, asleep=unit in asleep) for unit, each in seen.items()],
        "ready": bool(now.active) and all(gate.is_ready(each["socket"], each["path"]) for each in plan["gates"]),
        "unproven": _UNPROVEN if now.active and now.is_settled and not (now.proven or now.followers) else "",
        "followers": sorted(followers, key=lambda each: each["unit"]),
    }


def _box(layout: Layout, stack: str, box: Box) -> dict[str, str]:
    """The end of its time, and near it what to do against it."""
    now = time.time()
    text = until(box, now)
    if box.is_near(now) and not (box.ends or box.is_over(now)):
        text += f"; `farrier-release extend {stack} 1h` makes that longer, ask {asked(box, people.contact(layout))}"
    return {"until": _utc(box.until), "who": box.who, "text": text}


def _unit(unit: str, seen: Seen, now: state.State, *, asleep: bool) -> dict[str, str | None]:
    behind = now.followers.get(unit, {}).get("release") or (now.previous if unit in now.alone else None)
    note = now.alone.get(unit, "").split("\n", 1)[0]
    if unit in now.followers:
        note = told({unit: now.followers[unit]})[0].partition(" ")[2]
    return {
        "unit": unit,
        "state": "asleep" if asleep else seen.state,
        "since": _utc(seen.changed),
        "release": behind or now.active,
        "note": note or ("wakes on the next job" if asleep else seen.status),
    }


def _utc(seconds: int | None) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC") if seconds else ""


def as_text(stack: str, status: dict[str, Any], *, is_whole: bool) -> str:
    """The same for a person; `is_whole`: with the whole story of what was taken back."""
    since = f"{status['phase']} since {status['since']}" if status["since"] else "nothing was ever activated"
    ready = "" if not status["active"] else ", ready" if status["ready"] else ", NOT READY"
    message = status["message"].splitlines()
    end = f", {status['box']['text']}" if status["box"] else ""
    lines = [f"{stack}: {status['active'] or 'nothing'} is live, {since}{ready}{end}"]
    lines += [f"  {line}" for line in (message if is_whole else message[:1])]
    if status["unproven"]:
        lines.append(f"  {status['unproven']}")
    for unit in status["units"]:
        behind = f"  [release {unit['release']}]" if unit["release"] != status["active"] else ""
        lines.append(f"  {unit['unit']:<36} {unit['state']:<12} {unit['since']:<24} {unit['note']}{behind}".rstrip())
    return "\n".join(lines)


def as_json(statuses: dict[str, dict[str, Any]]) -> str:
    """All of it for machines."""
    return json.dumps(statuses, indent=2)
