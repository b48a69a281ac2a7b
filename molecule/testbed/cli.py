"""The command `testbed`: boot, list, enter and remove test hosts."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from testbed import cgroup, host, images, network, serve, ssh
from testbed.channel import cli as channel
from testbed.settings import STATE, SUITES
from testbed.shell import DriverError, say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit code (1: the driver could not, and said why)."""
    options = _parser().parse_args(arguments)
    if os.geteuid() != 0:
        say("testbed: needs root, because it makes namespaces, mounts and interfaces: run it with sudo")
        return 1
    try:
        return int(options.run(options) or 0)
    except DriverError as error:
        say(f"testbed: {error}")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="testbed", description="Test hosts: real Debian systems.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_host_commands(commands)
    _add_shared_commands(commands)
    channel.add_parser(commands)
    return parser


def _add_host_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    up = commands.add_parser("up", help="boot a host and wait until systemd says running; prints its address")
    up.set_defaults(run=_up)
    up.add_argument("name")
    up.add_argument("--suite", choices=SUITES, default=SUITES[0])
    up.add_argument("--warm", action="store_true", help="with the packages that the roles install already there")
    up.add_argument("--reuse", action="store_true", help="keep a host of that name that runs already")
    down = commands.add_parser("down", help="remove hosts for certain, also after a crash")
    down.set_defaults(run=_down)
    down.add_argument("names", nargs="+", metavar="name")
    shell = commands.add_parser("ssh", help="run a command on a host as root, or a shell")
    shell.set_defaults(run=_ssh)
    shell.add_argument("name")
    shell.add_argument("command", nargs=argparse.REMAINDER)
    listing = commands.add_parser("list", help="what there is")
    listing.set_defaults(run=_list)
    listing.add_argument("--json", action="store_true")


def _add_shared_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    image = commands.add_parser("image", help="build root images that are not cached yet, side by side")
    image.set_defaults(run=_image)
    kinds = [suite + kind for suite in SUITES for kind in ("", "-warm")]
    image.add_argument("images", nargs="+", metavar="SUITE[-warm]", choices=kinds)
    server = commands.add_parser("serve", help="serve a folder to the hosts by HTTP in the background; prints its URL")
    server.set_defaults(run=_serve)
    server.add_argument("folder", type=Path)
    server.add_argument("--port", type=int, default=8642)
    plain = {
        "unserve": (_unserve, "stop what `serve` started"),
        "gc": (_gc, "remove what is left of hosts that died"),
        "tidy": (_tidy, "remove network, servers and key if no host is left"),
        "clean": (_clean, "remove everything: hosts, servers, network, key, image cache"),
    }
    for name, (function, text) in plain.items():
        commands.add_parser(name, help=text).set_defaults(run=function)


def _up(options: argparse.Namespace) -> None:
    print(host.up(options.name, options.suite, warm=options.warm, reuse=options.reuse).address)


def _down(options: argparse.Namespace) -> None:
    for name in options.names:
        host.down(name)
        say(f"{name}: removed")


def _ssh(options: argparse.Namespace) -> None:
    found = host.find(options.name)
    if found is None:
        raise DriverError(f"there is no host {options.name!r}: see `testbed list`, boot one with `testbed up NAME`")
    line = ssh.argv(found.address, options.command)
    os.execvp(line[0], line)


def _list(options: argparse.Namespace) -> None:
    rows = [found.describe() for found in host.records()]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        state = "up" if row["alive"] else "dead (`testbed gc` removes it)"
        print(f"{row['name']:<20} {row['address']:<12} {row['image']:<32} {state}")


def _image(options: argparse.Namespace) -> None:
    with ThreadPoolExecutor() as pool:
        for built in pool.map(_build, options.images):
            print(built)


def _build(name: str) -> Path:
    suite, _, kind = name.partition("-")
    return images.ensure(suite, warm=kind == "warm")


def _serve(options: argparse.Namespace) -> None:
    print(serve.serve(options.folder.resolve(), options.port))


def _unserve(_: argparse.Namespace) -> None:
    serve.unserve()


def _gc(_: argparse.Namespace) -> None:
    for name in host.collect():
        say(f"{name}: removed")


def _tidy(_: argparse.Namespace) -> None:
    left = [found.name for found in host.records()]
    if left:
        say(f"network and servers stay, because hosts use them: {', '.join(left)}")
        return
    _remove_shared()
    say("network, servers and key are removed; the image cache stays")


def _clean(_: argparse.Namespace) -> None:
    for name in host.down_all():
        say(f"{name}: removed")
    _remove_shared()
    images.remove_all()
    say("hosts, network, servers, key and image cache are removed")


def _remove_shared() -> None:
    serve.unserve()
    network.remove_bridge()
    cgroup.remove_root()
    shutil.rmtree(STATE, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
