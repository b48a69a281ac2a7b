"""The commands of farrier-release: each takes the parsed options and gives the exit code."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from functools import partial

from farrier_host.reboot.watch import watch
from farrier_host.release import history, lock, oneoff, state, systemd
from farrier_host.release.collect import collect
from farrier_host.release.deploy import DONE, FAILED, Deployer, Order, Outcome, as_json
from farrier_host.release.files import Refused
from farrier_host.release.follow import follow
from farrier_host.release.health import complaints
from farrier_host.release.history import Entry
from farrier_host.release.layout import Layout
from farrier_host.release.needed import staged
from farrier_host.release.rotate import finish_cut, rotate
from farrier_host.release.status import as_json as statuses_as_json
from farrier_host.release.status import as_text, known
from farrier_host.release.status import collect as collect_status
from farrier_host.release.systemd import Failed
from farrier_host.release.transaction import Transaction
from farrier_host.release.verify import Verifier
from farrier_host.release.who import user, who
from farrier_host.timebox import end, store
from farrier_host.timebox.box import EVER, seconds_of
from farrier_host.timebox.box import until as until_text

_say = partial(print, flush=True)
_say_aside = partial(print, file=sys.stderr, flush=True)


def list_releases(options: argparse.Namespace, layout: Layout) -> int:
    """The releases that are kept, with what they are."""
    now, box = known(layout, options.stack), store.load(layout, options.stack)
    phase = f"{now.phase}, {until_text(box, time.time())}" if box else now.phase
    for release in sorted(staged(layout, options.stack)):
        mark = phase if release == now.active else "previous" if release == now.previous else ""
        print(f"{release}  {mark}".rstrip())
    return DONE


def status(options: argparse.Namespace, layout: Layout) -> int:
    """What is live."""
    stacks = [options.stack] if options.stack else layout.stacks()
    found = {stack: collect_status(layout, stack) for stack in stacks}
    if options.json:
        print(statuses_as_json(found))
    for stack, each in found.items() if not options.json else ():
        print(as_text(stack, each, is_whole=bool(options.stack)))
    return DONE


def show_history(options: argparse.Namespace, layout: Layout) -> int:
    """Who did what."""
    known(layout, options.stack)
    entries = history.read(layout, options.stack)
    if options.json:
        print(json.dumps([asdict(entry) for entry in entries], indent=2))
    for entry in entries if not options.json else ():
        seconds, why = f" ({entry.seconds:g} s)" if entry.seconds else "", f" · {entry.reason}" if entry.reason else ""
        print(f"{entry.when}  {entry.who or '-':<20} {entry.what:<8} {entry.release}: {entry.result}{seconds}{why}")
    return DONE


def check(options: argparse.Namespace, layout: Layout) -> int:
    """What is not as it should be."""
    now = known(layout, options.stack)
    if now.active is None:
        raise Refused(f"{options.stack}: nothing is live")
    found = complaints(layout, options.stack, now.active)
    print("\n".join(found) or f"{options.stack}: release {now.active} is as it should be")
    return FAILED if found else DONE


def deploy(options: argparse.Namespace, layout: Layout) -> int:
    """From activation to confirmation."""
    order = Order(who(options), options.reason, options.workers, options.confirm_within, options.verify)
    order = replace(order, lasts=_lasts(options.lasts))
    outcome = Deployer(layout, options.stack, order, _say_aside).deploy(options.release)
    if outcome.changed and not outcome.error:
        _collect_after(layout, options)
    return _told(outcome, options)


def _lasts(text: str) -> str:
    """A time, EVER, or nothing; Refused before anything is done for what is neither."""
    try:
        return text if text in ("", EVER) or seconds_of(text) else ""
    except ValueError as error:
        raise Refused(str(error)) from None


def _collect_after(layout: Layout, options: argparse.Namespace) -> None:
    """What this stack no longer needs; that it could not be removed is no reason for a deploy to fail."""
    try:
        collect(layout, options.keep, _say_aside, stacks=[options.stack])
    except OSError as error:
        _say_aside(f"{options.stack}: what is no longer needed could not be removed: {error}")


def collect_releases(options: argparse.Namespace, layout: Layout) -> int:
    """Remove what nothing needs any more."""
    if options.stack:
        known(layout, options.stack)
    done = collect(layout, options.keep, _say, stacks=[options.stack] if options.stack else None)
    print("\n".join((*done.left, str(done))))
    return DONE


def rollback(options: argparse.Namespace, layout: Layout) -> int:
    """Bring a release back."""
    known(layout, options.stack)
    order = Order(who(options), options.reason, options.workers, restored=options.restored)
    return _told(Deployer(layout, options.stack, order, _say_aside).rollback(options.release), options)


def _told(outcome: Outcome, options: argparse.Namespace) -> int:
    if options.json:
        print(json.dumps(as_json(outcome)))
    else:
        print("\n".join(outcome.said))
        print(outcome.error or f"{outcome.stack}: {outcome.result} in {outcome.seconds:g} s", flush=True)
    return outcome.code


def rotate_secret(options: argparse.Namespace, layout: Layout) -> int:
    """A new password."""
    known(layout, options.stack)
    order = Order(who(options), options.reason, options.workers)
    return _told(rotate(layout, options.stack, options.name, order, _say_aside), options)


def run_command(options: argparse.Namespace, layout: Layout) -> int:
    """Anything, in a service's place."""
    stack, _, service = options.place.partition("/")
    command = _after_dashes(options.command)
    if not service or not command:
        raise Refused("say where and what: farrier-release run STACK/SERVICE -- COMMAND …")
    return oneoff.run(layout, stack, service, command)


def run_named(options: argparse.Namespace, layout: Layout) -> int:
    """A command of the stack file."""
    return oneoff.run_named(layout, options.stack, options.name, _after_dashes(options.arguments))


def _after_dashes(words: list[str]) -> list[str]:
    """The words without the `--` that sets them apart, which argparse keeps or not, by version."""
    return words[1:] if words[:1] == ["--"] else words


def verify(options: argparse.Namespace, layout: Layout) -> int:
    """The verify steps alone."""
    release = known(layout, options.stack).active
    if release is None or options.release not in (None, release):
        raise Refused(f"{options.stack}: {release or 'nothing'} is live, not {options.release or 'a release'}")
    steps = Verifier(layout, options.stack, release, _say).run()
    print(f"{options.stack}: {steps} {'step' if steps == 1 else 'steps'}, all as they should be")
    return DONE


def activate(options: argparse.Namespace, layout: Layout) -> int:
    """Start the activation under systemd and wait."""
    order = Order(who(options), workers=options.workers, confirm_within=options.confirm_within)
    with lock.hold(layout, options.stack, order.who, f"activation of {options.release}"):
        try:
            Deployer(layout, options.stack, order, _say_aside).activate(options.release)
        except Failed as error:
            now = state.load(layout, options.stack)
            raise Failed(error.unit, f"{error.reason}\nRelease {now.active or '(none)'} serves.") from None
    if state.load(layout, options.stack).is_settled:
        print(f"{options.stack}: release {options.release} is live already")
    else:
        within = options.confirm_within
        print(f"{options.stack}: release {options.release} is live; it goes back in {within} s unless confirmed")
    return DONE


def run_activation(options: argparse.Namespace, layout: Layout) -> int:
    """The activation itself."""
    transaction = Transaction(layout, options.stack, _say)
    transaction.activate(options.release, options.confirm_within, options.who, options.workers)
    return DONE


def settle(options: argparse.Namespace, layout: Layout) -> int:
    """After an activation's end, and every minute while one is open."""
    if systemd.is_ending():  # nothing can be started any more; `recover` does it at boot
        return DONE
    restored = Transaction(layout, options.stack, _say).settle()
    if restored:
        history.note(layout, options.stack, Entry("back", restored.active, "its activation died", who="settle"))
        print(restored.message)
    return DONE


def confirm(options: argparse.Namespace, layout: Layout) -> int:
    """End the trial: it stays."""
    Transaction(layout, options.stack, _say).confirm(options.release)
    print(f"{options.stack}: release {options.release} is confirmed")
    return DONE


def expire(options: argparse.Namespace, layout: Layout) -> int:
    """The time is over."""
    now = Transaction(layout, options.stack, _say).back("nobody confirmed it in time", only=options.release)
    history.note(layout, options.stack, Entry("back", now.active, "nobody confirmed the release in time", who="timer"))
    print(now.message)
    return DONE


def back(options: argparse.Namespace, layout: Layout) -> int:
    """End the trial: the release before comes back."""
    known(layout, options.stack)
    reason = sys.stdin.read().strip() if options.reason == "-" else options.reason
    now = Transaction(layout, options.stack, _say).back(reason, only=options.release)
    history.note(layout, options.stack, Entry("back", now.active, "taken back", who=user(), reason=reason))
    print(f"{options.stack}: release {now.active or '(none)'} serves")
    return DONE


def follow_workers(options: argparse.Namespace, layout: Layout) -> int:
    """Watch the workers that follow later."""
    follow(layout, options.stack, _say)
    for name in finish_cut(layout, options.stack, _say):
        print(f"{options.stack}: {name} is rotated")
    return DONE


def guard_reboots(options: argparse.Namespace, layout: Layout) -> int:
    """As long as the host is up."""
    del options
    watch(layout)
    return DONE


def recover(options: argparse.Namespace, layout: Layout) -> int:
    """At early boot."""
    del options
    broken = DONE
    for stack in layout.stacks():
        try:
            restored = Transaction(layout, stack, _say).recover()
            has_ended = end.at_boot(layout, stack)
        except (Refused, Failed, OSError, ValueError) as error:  # one stack must not keep the others from being mended
            print(f"{stack}: could not be taken back: {error}", file=sys.stderr)
            systemd.start_later(f"farrier-settle@{stack}.timer")
            broken = FAILED
            continue
        now = state.load(layout, stack)
        if has_ended:
            print(f"{stack}: {now.message}")
        elif restored:
            history.note(layout, stack, Entry("back", now.active, now.message.split("\n", 1)[0], who="boot"))
            print(f"{stack}: {restored.message}")
        elif now.followers or (now.active and not now.proven):
            systemd.start_later(f"farrier-follow@{stack}.service")
    return broken
