"""The commands of farrier-release that are about the time of a stack; each gives the exit code."""

from __future__ import annotations

import argparse
import subprocess
import time
from dataclasses import replace
from functools import partial

from farrier_host.release import lock
from farrier_host.release.files import Refused
from farrier_host.release.layout import Layout
from farrier_host.release.status import known
from farrier_host.release.systemd import Failed, journal
from farrier_host.release.who import who
from farrier_host.timebox import end, store

_say = partial(print, flush=True)


def extend(options: argparse.Namespace, layout: Layout) -> int:
    """More time."""
    known(layout, options.stack)
    try:
        _say(store.extend(layout, options.stack, options.time, who(options)))
    except ValueError as error:
        raise Refused(str(error)) from None
    return 0


def end_now(options: argparse.Namespace, layout: Layout) -> int:
    """The end, before its time."""
    stack = options.stack
    known(layout, stack)
    with lock.hold(layout, stack, who(options), "ends its time"):
        box = store.load(layout, stack)
        if box is None:
            raise Refused(f"{stack} was given no time: it stays. `farrier deploy --for 2h` gives it one")
        store.save(layout, stack, replace(box, until=int(time.time()), who=who(options)))
    unit = f"farrier-box@{stack}.service"
    _say(
        f"{stack}: workers end their jobs first; `journalctl -fu {unit}` shows it, and it goes on without this terminal"
    )
    if subprocess.run(["systemctl", "start", unit], check=False).returncode:
        raise Failed(unit, f"{stack} has not ended; it is tried again:\n{journal(unit)}")
    _say(f"{stack}: stopped; `farrier-release rollback {stack}` brings it back")
    return 0


def due(options: argparse.Namespace, layout: Layout) -> int:
    """What the timer asks for."""
    end.look(layout, options.stack, _say)
    return 0
