"""`python -m app.core.admin`, in the environment of one of the stack's services."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence

from app.core.admin import commands
from app.core.admin.commands import DONE, REFUSED, UNKNOWN, NoSuchJob
from app.core.ledger import State
from app.core.service import Service, open_service

LOG_LINES = 20
_EPILOG = f"""exit codes: {DONE} done · {REFUSED} refused or not possible, and the message says why · 2 wrong usage ·
{UNKNOWN} there is no such job

A job is named by its id, or by as much of its beginning as tells it apart. Times are UTC. Colours are used on a
terminal only, and not where NO_COLOR is set."""
_Run = Callable[[Service, argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    prog = f"{os.environ.get('FARRIER_STACK', 'stack')}-admin"
    options = _parser(prog).parse_args(arguments)
    try:
        code: int = options.run(open_service(os.environ), options)
    except NoSuchJob as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return UNKNOWN
    except (ValueError, OSError) as error:  # settings, ledger, files
        print(f"{prog}: {error}", file=sys.stderr)
        return REFUSED
    return code


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Look at the jobs of this site, and end or repeat them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: _Run, text: str) -> argparse.ArgumentParser:
        command = parsers.add_parser(name, help=text, description=text)
        command.add_argument("--json", action="store_true", help="for machines")
        command.set_defaults(run=run)
        return command

    _add_jobs(add("jobs", commands.jobs, "List jobs, the newest first: those queued, running or failed."))
    one = add("show", commands.show, "Show one job: its attempts, their steps, and the end of its log.")
    one.add_argument("job", help="its id, or the beginning of it")
    one.add_argument("--log", type=_number, default=LOG_LINES, metavar="N", help="lines of the log (%(default)s)")
    end = "End jobs: at once where they wait, within seconds where they run."
    again = "Submit failed or cancelled jobs again, as new jobs, while their originals are there."
    for name, run, text in (("cancel", commands.cancel, end), ("retry", commands.submit_again, again)):
        add(name, run, text).add_argument("job", nargs="+", help="ids, or the beginnings of them")
    add("stats", commands.stats, "Show how many jobs there are in which state, why jobs failed, how long they last.")
    return parser


def _add_jobs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="those done and cancelled too")
    words = [state.value for state in State]
    parser.add_argument("--state", action="append", choices=words, help="only these; may be given several times")
    parser.add_argument("--limit", type=_number, default=20, metavar="N", help="how many at most (%(default)s)")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError("write a whole number")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
