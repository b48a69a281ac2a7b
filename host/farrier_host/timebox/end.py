"""The end of a stack's time: it is announced, workers end their jobs, then all of the stack is stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from farrier_host import people
from farrier_host.release import files, history, lock, state, systemd
from farrier_host.release.decide import FOLLOW
from farrier_host.release.history import Entry
from farrier_host.release.layout import Layout
from farrier_host.release.state import State
from farrier_host.release.transaction import Transaction
from farrier_host.release.workers import Workers
from farrier_host.timebox import store
from farrier_host.timebox.box import Box, announcement, clock, farewell

Say = Callable[[str], None]


def look(layout: Layout, stack: str, say: Say) -> None:
    """What the timer comes for: announce the end, or end. Raises Refused while somebody deploys: it is tried again."""
    box = store.load(layout, stack)
    now = time.time()
    if box is not None and not box.is_over(now):
        if box.is_near(now):
            people.tell_everybody(announcement(stack, people.host(), box, people.contact(layout), now))
        return
    with lock.hold(layout, stack, "the end of its time", "workers end their jobs, then it is stopped"):
        box = store.load(layout, stack)  # it may have been given more
        if box is None:
            store.disarm(layout, stack)
        elif box.is_over(time.time()):
            _end(layout, stack, box, say)


def _end(layout: Layout, stack: str, box: Box, say: Say) -> None:
    now = state.load(layout, stack)
    if now.active is not None:
        if not box.ends:
            box = store.save(layout, stack, replace(box, ends=True))
            people.tell_everybody(farewell(stack, people.host(), box, people.contact(layout), time.time()))
        _let_workers_end(layout, stack, now, say)
        Transaction(layout, stack, say).put_away(reason(box))
        _note(layout, stack, now.active, box)
    store.disarm(layout, stack)


def _let_workers_end(layout: Layout, stack: str, now: State, say: Say) -> None:
    """Workers first, while what they and their users need still serves: each has its unit's stop time for its job."""
    wanted = files.of_release(layout, stack, now.active)
    every = wanted.instances()
    workers = [unit for unit in every if wanted.change_of(unit) == FOLLOW and unit.endswith(".service")]
    bells = [unit for unit in (f"{each.removesuffix('.service')}.socket" for each in workers) if unit in every]
    ending = [*bells, *workers, *now.followers]  # an older release's workers may end a job, too
    if ending:
        say(f"stop {', '.join(ending)}: a job in hand has its worker's stop time")
        systemd.stop(ending)
        Workers(layout, say).want(list(now.followers))  # nothing is left in /run of those that were to end for good


def at_boot(layout: Layout, stack: str) -> bool:
    """At early boot: when the stack's time was over while the host was down, its files go before anything starts."""
    box = store.load(layout, stack)
    if box is None or not box.is_over(time.time()):
        return False
    now = state.load(layout, stack)
    if now.active is not None:
        Transaction(layout, stack, print).put_away_at_boot(reason(box))
        _note(layout, stack, now.active, box)
    return True  # the timer, which made up for what it missed, takes the rest away


def reason(box: Box) -> str:
    """Why it is not live any more."""
    return f"its time was over at {clock(box.until, time.time())}" + (f" (given by {box.who})" if box.who else "")


def _note(layout: Layout, stack: str, release: str, box: Box) -> None:
    history.note(layout, stack, Entry("end", release, reason(box), who=box.who))
