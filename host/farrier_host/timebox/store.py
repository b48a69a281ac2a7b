"""Where the time of a stack is written down, and the timer that comes back to it, also after a reboot."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import asdict, fields, replace
from typing import Any

from farrier_host.release import history, lock, state, systemd
from farrier_host.release.files import Refused, write_atomically
from farrier_host.release.history import Entry
from farrier_host.release.layout import Layout
from farrier_host.timebox.box import EVER, LONGEST, Box, clock, seconds_of, until

_TIMER = """\
# Farrier: the end of the time that {stack} was given, and its announcements.
[Unit]
Description=The time of {stack}

[Timer]
{moments}
# What fell into a time when the host was down is made up for.
Persistent=yes
AccuracySec=1s

[Install]
WantedBy=timers.target
"""


def load(layout: Layout, stack: str) -> Box | None:
    """The time that the stack was given; None: for ever."""
    try:
        found: dict[str, Any] = json.loads(layout.box(stack).read_text(encoding="utf-8"))
        known = {field.name for field in fields(Box)}
        return Box(**{key: value for key, value in found.items() if key in known})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def save(layout: Layout, stack: str, box: Box) -> Box:
    """Write it down."""
    write_atomically(layout.box(stack), json.dumps(asdict(box), indent=2) + "\n")
    return box


def arm(layout: Layout, stack: str, box: Box) -> Box:
    """Write it down, and have somebody come back to it at its announcements and at its end. Raises Failed."""
    begun = int(time.time())
    save(layout, stack, box)
    moments = [time.strftime("OnCalendar=%Y-%m-%d %H:%M:%S UTC", time.gmtime(at)) for at in _moments(box)]
    path = layout.units / timer_of(stack)
    write_atomically(path, _TIMER.format(stack=stack, moments="\n".join(moments)))
    systemd.daemon_reload()
    systemd.enable([path.name])
    systemd.restart(path.name)
    if any(begun <= at <= time.time() for at in _moments(box)):  # the timer may have come up too late for it
        systemd.start_later(f"farrier-box@{stack}.service")
    return box


def disarm(layout: Layout, stack: str) -> None:
    """It has no end any more."""
    name = timer_of(stack)
    path = layout.units / name
    if path.exists():
        subprocess.run(["systemctl", "disable", "--now", "--quiet", name], check=False, capture_output=True)
        # When it last ran: the next timer of this name would take a time before that for missed.
        subprocess.run(["systemctl", "clean", "--what=state", name], check=False, capture_output=True)
        path.unlink(missing_ok=True)
        systemd.daemon_reload()
    layout.box(stack).unlink(missing_ok=True)


def give(layout: Layout, stack: str, lasts: str, who: str) -> str:
    """Give the stack a time from now on (`2h`), or EVER; what is to be told of that, nothing when all is as it was.

    The caller holds the stack's lock. Raises ValueError for a time that is none, Failed when systemd refuses.
    """
    before, now = load(layout, stack), time.time()
    if lasts == EVER:
        if before is None:
            return ""
        disarm(layout, stack)
        return f"{stack}: stays for ever from now on; it would have ended at {clock(before.until, now)}"
    box = arm(layout, stack, Box(int(now) + seconds_of(lasts), int(now), who))
    instead = f" (not {clock(before.until, now)} any more)" if before else ""
    return f"{stack}: {until(box, now)}{instead}; `farrier-release extend {stack} 1h` on the host makes that longer"


def extend(layout: Layout, stack: str, lasts: str, who: str) -> str:
    """Give a stack that has an end more time; what is to be told. Raises Refused, and ValueError for no time."""
    more, now = seconds_of(lasts), int(time.time())
    with lock.hold(layout, stack, who, f"{lasts} more time"):
        before = load(layout, stack)
        if before is None:
            raise Refused(f"{stack} has no end that could be later: it stays until somebody takes it away")
        later = max(before.until, now) + more
        if later > now + LONGEST:
            raise Refused(
                f"{stack} would end at {clock(later, now)}; at most {LONGEST // 86400} days are given at once"
            )
        box = arm(layout, stack, replace(before, until=later, since=now))
        active = state.load(layout, stack).active
        history.note(layout, stack, Entry("extend", active, f"ends at {clock(later, now)}", who=who))
        return f"{stack}: {until(box, now)}"


def timer_of(stack: str) -> str:
    """The timer unit of a stack's time."""
    return f"farrier-box@{stack}.timer"


def _moments(box: Box) -> list[int]:
    return [*box.announcements(), box.until]
