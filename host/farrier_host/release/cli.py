"""The command line of farrier-release."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

from farrier_host.release import files, state
from farrier_host.release.files import Refused
from farrier_host.release.health import complaints
from farrier_host.release.layout import Layout
from farrier_host.release.systemd import Failed, journal
from farrier_host.release.transaction import Transaction
from farrier_host.release.verify import Verifier, VerifyFailed

_CONFIRM_WITHIN = 600  # seconds; a verify run of a real job takes minutes
_EPILOG = """exit codes: 0 done · 1 failed, and the message says what serves · 2 refused, nothing was changed

An activation runs as the unit farrier-activate-STACK, so it outlives the terminal; `journalctl -u` shows its steps."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace, Layout], int] = options.run
    try:
        return command(options, Layout())
    except Refused as error:
        print(f"farrier-release: {error}", file=sys.stderr)
        return 2
    except (Failed, VerifyFailed, OSError) as error:
        print(f"farrier-release: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="farrier-release",
        description="Make a release of a stack live, or take it back.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, help_text, takes in _COMMANDS:
        command = commands.add_parser(name, help=help_text, description=help_text)
        command.set_defaults(run=run)
        for argument in takes:
            command.add_argument(argument[0], **argument[1])
    return parser


def _list(options: argparse.Namespace, layout: Layout) -> int:
    now = _known(layout, options.stack)
    for release in sorted(path.name for path in (layout.home(options.stack) / "releases").glob("[0-9]*")):
        mark = now.phase if release == now.active else "previous" if release == now.previous else ""
        print(f"{release}  {mark}".rstrip())
    return 0


def _status(options: argparse.Namespace, layout: Layout) -> int:
    stacks = [options.stack] if options.stack else layout.stacks()
    states = {stack: _known(layout, stack) for stack in stacks}
    if options.json:
        print(json.dumps({stack: asdict(now) for stack, now in states.items()}, indent=2))
        return 0
    for stack, now in states.items():
        since = f"{now.phase} since {now.since}" if now.since else "nothing was ever activated"
        print(f"{stack}: {now.active or 'nothing'} is live, {since}")
        # The whole story, with journal lines, for whoever asks for this stack; else its first line.
        told = now.message.splitlines()
        print("".join(f"  {line}\n" for line in (told if options.stack else told[:1])), end="")
        for unit in files.of_release(layout, stack, now.active).instances():
            answer = subprocess.run(["systemctl", "is-active", unit], check=False, capture_output=True, text=True)
            print(f"  {unit:<40} {answer.stdout.strip()}")
    return 0


def _check(options: argparse.Namespace, layout: Layout) -> int:
    now = _known(layout, options.stack)
    if now.active is None:
        raise Refused(f"{options.stack}: nothing is live")
    found = complaints(layout, options.stack, now.active)
    print("\n".join(found) or f"{options.stack}: release {now.active} is as it should be")
    return 1 if found else 0


def _known(layout: Layout, stack: str) -> state.State:
    """The state of a stack that is here; Refused for another one."""
    if stack not in layout.stacks():
        raise Refused(f"there is no stack '{stack}' here; stacks: {', '.join(layout.stacks()) or 'none'}")
    return state.load(layout, stack)


def _activate(options: argparse.Namespace, layout: Layout) -> int:
    """Start the activation under systemd and wait; when this process dies, the activation goes on."""
    files.read_plan(layout, options.stack, options.release)
    before = state.load(layout, options.stack)
    inner = ["/usr/local/sbin/farrier-release", "run-activation", options.stack, options.release]
    unit_name = f"farrier-activate-{options.stack}"
    unit = ["systemd-run", "--quiet", "--collect", "--wait", f"--unit={unit_name}"]
    done = subprocess.run(
        [*unit, *inner, "--confirm-within", str(options.confirm_within)], check=False, capture_output=True, text=True
    )
    if done.returncode == 0 and state.load(layout, options.stack).is_settled:
        print(f"{options.stack}: release {options.release} is live already")
        return 0
    if done.returncode == 0:
        within = options.confirm_within
        print(f"{options.stack}: release {options.release} is live; it goes back in {within} s unless confirmed")
        return 0
    now = state.load(layout, options.stack)
    if "already" in done.stderr:
        raise Refused(
            f"another activation of {options.stack} runs; see `journalctl -fu farrier-activate-{options.stack}`"
        )
    if now.phase == state.ACTIVATING:
        now = Transaction(layout, options.stack, print).back("its activation died half-way")
    told = now.message if now != before else journal(unit_name, lines=50)
    print(f"{told}\nRelease {now.active or '(none)'} serves.", file=sys.stderr)
    return done.returncode


def _run_activation(options: argparse.Namespace, layout: Layout) -> int:
    Transaction(layout, options.stack, print).activate(options.release, options.confirm_within)
    return 0


def _confirm(options: argparse.Namespace, layout: Layout) -> int:
    Transaction(layout, options.stack, print).confirm(options.release)
    print(f"{options.stack}: release {options.release} is confirmed")
    return 0


def _expire(options: argparse.Namespace, layout: Layout) -> int:
    now = Transaction(layout, options.stack, print).back("nobody confirmed it in time", only=options.release)
    print(now.message)
    return 0


def _back(options: argparse.Namespace, layout: Layout) -> int:
    _known(layout, options.stack)
    reason = sys.stdin.read().strip() if options.reason == "-" else options.reason
    now = Transaction(layout, options.stack, print).back(reason, only=options.release)
    print(f"{options.stack}: release {now.active or '(none)'} serves")
    return 0


def _verify(options: argparse.Namespace, layout: Layout) -> int:
    release = _known(layout, options.stack).active
    if release is None or options.release not in (None, release):
        raise Refused(f"{options.stack}: {release or 'nothing'} is live, not {options.release or 'a release'}")
    steps = Verifier(layout, options.stack, release, partial(print, flush=True)).run()
    print(f"{options.stack}: {steps} {'step' if steps == 1 else 'steps'}, all as they should be")
    return 0


def _recover(options: argparse.Namespace, layout: Layout) -> int:
    del options
    broken = 0
    for stack in layout.stacks():
        try:
            restored = Transaction(layout, stack, print).recover()
        except (Refused, Failed, OSError, ValueError) as error:  # one stack must not keep the others from being mended
            print(f"{stack}: could not be taken back: {error}", file=sys.stderr)
            broken = 1
            continue
        if restored:
            print(f"{stack}: {restored.message}")
    return broken


_STACK = ("stack", {"help": "the stack, for example demo"})
_RELEASE = ("release", {"help": "the release's id, as `farrier-release list` shows it"})
_ONLY = ("--release", {"help": "only if this release is live"})
_WITHIN = (
    "--confirm-within",
    {"type": int, "default": _CONFIRM_WITHIN, "metavar": "SECONDS", "help": "go back after this time (%(default)s s)"},
)
_COMMANDS = (
    ("list", _list, "Show the releases of a stack.", (_STACK,)),
    (
        "status",
        _status,
        "Show what is live.",
        (("stack", {"nargs": "?", "help": "one stack; all when not given"}), ("--json", {"action": "store_true"})),
    ),
    ("activate", _activate, "Make a release live, on trial.", (_STACK, _RELEASE, _WITHIN)),
    ("confirm", _confirm, "End the trial: the release stays.", (_STACK, _RELEASE)),
    (
        "back",
        _back,
        "End the trial: the release before it comes back.",
        (
            _STACK,
            _ONLY,
            ("--reason", {"default": "by hand", "help": "why, for the record; - reads it from standard input"}),
        ),
    ),
    ("verify", _verify, "Run the stack's verify steps through the front door.", (_STACK, _ONLY)),
    ("check", _check, "Say what of a live release is not as it should be; exit 1 when there is anything.", (_STACK,)),
    ("expire", _expire, "Used by the timer of an activation: go back unless confirmed.", (_STACK, _RELEASE)),
    ("run-activation", _run_activation, "Used by activate, under systemd.", (_STACK, _RELEASE, _WITHIN)),
    ("recover", _recover, "Used at boot: take back what was not confirmed.", ()),
)
