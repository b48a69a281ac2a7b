"""`testbed channel build OUT`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.channel.apt import ChannelError
from testbed.channel.build import build

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names its type so


def add_parser(subparsers: Subparsers) -> None:
    """Add the command `channel build OUT`; the chosen function stands in `arguments.run`."""
    channel = subparsers.add_parser("channel", help="the local conda channel")
    commands = channel.add_subparsers(required=True, metavar="COMMAND")
    builder = commands.add_parser("build", help="make or renew OUT/channel from Debian 12's packages")
    builder.add_argument("out", type=Path, metavar="OUT")
    builder.set_defaults(run=run_build)


def run_build(arguments: argparse.Namespace) -> int:
    """Build, with progress lines; exit code 1 and one message when it cannot be done."""
    started = time.monotonic()

    def progress(line: str) -> None:
        print(f"channel: {line}", flush=True)

    try:
        built = build(arguments.out.resolve(), progress)
    except ChannelError as error:
        print(f"channel: {error}", file=sys.stderr)
        return 1
    progress(f"{'built' if built else 'up to date'} in {time.monotonic() - started:.1f} s")
    return 0
