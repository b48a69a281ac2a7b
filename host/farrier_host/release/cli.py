"""The command line of farrier-release."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from farrier_host.release import commands
from farrier_host.release.deploy import FAILED, REFUSED
from farrier_host.release.files import Refused
from farrier_host.release.layout import Layout
from farrier_host.release.systemd import Failed
from farrier_host.release.verify import VerifyFailed
from farrier_host.release.workers import FOLLOW, NOW, WAIT
from farrier_host.timebox import commands as timebox

_CONFIRM_WITHIN = 600  # seconds; a verify run of a real job takes minutes
_EPILOG = """exit codes: 0 done · 1 failed, and the message says what serves · 2 refused, nothing was changed ·
3 done, but a worker follows when its job ends

An activation runs as the unit farrier-activate-STACK, so it outlives the terminal; `journalctl -u` shows its steps.
Workers that follow later are watched by farrier-follow@STACK."""
Argument = tuple[str, dict[str, Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace, Layout], int] = options.run
    try:
        return command(options, Layout())
    except Refused as error:
        print(f"farrier-release: {error}", file=sys.stderr)
        return REFUSED
    except (Failed, VerifyFailed, OSError) as error:
        print(f"farrier-release: {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="farrier-release",
        description="Make a release of a stack live, or bring one back.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, help_text, takes in _COMMANDS:
        command = subparsers.add_parser(name, help=help_text, description=help_text)
        command.set_defaults(run=run)
        for argument in takes:
            command.add_argument(argument[0], **argument[1])
    return parser


_STACK: Argument = ("stack", {"help": "the stack, for example demo"})
_ANY_STACK: Argument = ("stack", {"nargs": "?", "help": "one stack; all when not given"})
_RELEASE: Argument = ("release", {"help": "the release's id, as `farrier-release list` shows it"})
_ANY_RELEASE: Argument = ("release", {"nargs": "?", "help": "the release; the one before when not given"})
_ONLY: Argument = ("--release", {"help": "only if this release is live"})
_JSON: Argument = ("--json", {"action": "store_true", "help": "for machines"})
_WHO: Argument = ("--who", {"default": "", "help": "who does it, for lock and history (default: the user here)"})
_WHY: Argument = ("--reason", {"default": "", "help": "why, for the history"})
_WORKERS: Argument = (
    "--workers",
    {
        "choices": (FOLLOW, WAIT, NOW),
        "default": FOLLOW,
        "help": "busy workers: follow when their job ends (default), wait for that, or restart now (the job is cut "
        "after the unit's stop time, and tried again)",
    },
)
_WITHIN: Argument = (
    "--confirm-within",
    {"type": int, "default": _CONFIRM_WITHIN, "metavar": "SECONDS", "help": "go back after this time (%(default)s s)"},
)
_KEEP: Argument = (
    "--keep",
    {
        "type": int,
        "default": 5,
        "metavar": "N",
        "help": "releases of a stack that stay besides the live one and the one before (%(default)s)",
    },
)
_RESTORED: Argument = (
    "--restored",
    {"action": "store_true", "help": "its database was put back from a snapshot: go by the schema that is in it now"},
)
_REST: dict[str, Any] = {"nargs": argparse.REMAINDER}
_COMMAND: Argument = ("command", _REST | {"metavar": "-- COMMAND", "help": "program and arguments"})
_ARGUMENTS: Argument = ("arguments", _REST | {"metavar": "-- ARGUMENTS", "help": "for the command"})
_VERIFY: Argument = ("--verify", {"action": "store_true", "help": "run the verify steps also when nothing changed"})
_LASTS: Argument = (
    "--for",
    {
        "dest": "lasts",
        "default": "",
        "metavar": "TIME",
        "help": "stop it after this time (30m, 2h, 1d12h), or `ever`; when not given, its end is as it was",
    },
)
_TIME: Argument = ("time", {"metavar": "TIME", "help": "30m, 2h, 1d12h"})
_COMMANDS: tuple[tuple[str, Callable[[argparse.Namespace, Layout], int], str, tuple[Argument, ...]], ...] = (
    ("list", commands.list_releases, "Show the releases of a stack.", (_STACK,)),
    ("status", commands.status, "Show what is live.", (_ANY_STACK, _JSON)),
    ("history", commands.show_history, "Show who did what, when, and how it ended.", (_STACK, _JSON)),
    ("check", commands.check, "Say what of a live release is not as it should be; exit 1 if anything.", (_STACK,)),
    (
        "deploy",
        commands.deploy,
        "Make a release live, prove it by the verify steps, and confirm it.",
        (_STACK, _RELEASE, _WHO, _WHY, _WORKERS, _WITHIN, _VERIFY, _KEEP, _LASTS, _JSON),
    ),
    (
        "rollback",
        commands.rollback,
        "Bring back the release before, or the one named.",
        (_STACK, _ANY_RELEASE, _RESTORED, _WHO, _WHY, _WORKERS, _JSON),
    ),
    ("extend", timebox.extend, "Let a stack that was given a time run that much longer.", (_STACK, _TIME, _WHO)),
    (
        "end",
        timebox.end_now,
        "End the time that a stack was given now: workers end their jobs, then it is stopped and its cards are free.",
        (_STACK, _WHO),
    ),
    (
        "run",
        commands.run_command,
        "Run a command with a service's user, env, credentials and sandbox; exits with the command's exit code.",
        (("place", {"metavar": "STACK/SERVICE", "help": "for example demo/web"}), _COMMAND),
    ),
    (
        "command",
        commands.run_named,
        "Run a command that the stack file names, as its launcher in /usr/local/bin does.",
        (_STACK, ("name", {"help": "a key under `commands` of the stack file"}), _ARGUMENTS),
    ),
    (
        "rotate",
        commands.rotate_secret,
        "Put a new password in the place of an old one while everything serves; one that was cut goes on.",
        (_STACK, ("name", {"help": "the secret, for example redis-password"}), _WHO, _WHY, _WORKERS, _JSON),
    ),
    ("verify", commands.verify, "Run the stack's verify steps through the front door.", (_STACK, _ONLY)),
    (
        "activate",
        commands.activate,
        "Make a release live, on trial: it goes back unless confirmed.",
        (_STACK, _RELEASE, _WITHIN, _WHO, _WORKERS),
    ),
    (
        "collect",
        commands.collect_releases,
        "Remove old releases, and the code, envs and models that only they used.",
        (_ANY_STACK, _KEEP),
    ),
    ("confirm", commands.confirm, "End the trial: the release stays.", (_STACK, _RELEASE)),
    (
        "back",
        commands.back,
        "End the trial: the release before it comes back.",
        (
            _STACK,
            _ONLY,
            ("--reason", {"default": "by hand", "help": "why, for the record; - reads it from standard input"}),
        ),
    ),
    ("expire", commands.expire, "Used by the timer of an activation: go back unless confirmed.", (_STACK, _RELEASE)),
    (
        "run-activation",
        commands.run_activation,
        "Used by deploy, under systemd.",
        (_STACK, _RELEASE, _WITHIN, _WHO, _WORKERS),
    ),
    (
        "settle",
        commands.settle,
        "Used when an activation ends, and by farrier-settle@: take back what was left half-way.",
        (_STACK,),
    ),
    ("follow", commands.follow_workers, "Used by farrier-follow@: watch the workers that follow later.", (_STACK,)),
    ("guard-reboots", commands.guard_reboots, "Used by farrier-reboot-guard: tell who reboots that jobs run.", ()),
    ("due", timebox.due, "Used by the timer of a stack's time: announce its end, or end it.", (_STACK,)),
    ("recover", commands.recover, "Used at boot: take back what was not confirmed.", ()),
)
