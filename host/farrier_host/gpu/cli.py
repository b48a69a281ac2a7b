"""The command line of farrier-gpus."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from farrier_host.gpu import show
from farrier_host.gpu.asking import LIMIT, Driver
from farrier_host.gpu.check import Refused, check, wanted_card
from farrier_host.gpu.places import Places, declared_cards, make_folders, pci_address, read_json, replace
from farrier_host.gpu.state import problems
from farrier_host.gpu.watch import watch

WELL, UNWELL, REFUSED, UNKNOWN = 0, 1, 2, 3
_EPILOG = """exit codes: 0 all is well · 1 a card or the driver is not, and the last lines say what to do · 2 refused ·
3 nothing is known: farrier-gpus.service does not run"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    options = _parser().parse_args(arguments)
    places = Places()
    # A unit's start check has that unit's UMask=, and what it makes in /run/farrier is for all to read.
    os.umask(0o022)
    try:
        if options.command == "check":
            check(places, options.unit, [wanted_card(text) for text in options.card], _by_driver(places))
        elif options.command == "prepare":
            make_folders(places, [card["index"] for card in declared_cards(places)])
        elif options.command == "watch":
            watch(places)
        elif options.command == "forget":
            _forget(places, options.card)
        else:
            return _show(places, as_json=options.json)
    except (Refused, ValueError, OSError) as error:
        print(f"farrier-gpus: {error}".replace("\n", "\nfarrier-gpus: "), file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        return 130
    return WELL


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="farrier-gpus",
        description="Show the host's graphics cards, and who holds them: units, processes and memory.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="for machines: the state as the watcher wrote it")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    checking = commands.add_parser("check", help="Used before a GPU unit starts: its cards are there, and only they.")
    checking.add_argument("--unit", required=True, help="for example demo-worker@0.service")
    checking.add_argument("--card", required=True, action="append", metavar="INDEX=PCI", help="0=0000:3b:00.0")
    commands.add_parser("prepare", help="Used by farrier-gpus.service: make the folders of the cards' locks.")
    commands.add_parser("watch", help="Used by farrier-gpus.service: look each second, and write state.json.")
    forgetting = commands.add_parser("forget", help="After a card was reset: its Xid errors so far are dealt with.")
    forgetting.add_argument("card", metavar="PCI", help="the card's address, for example 0000:3b:00.0")
    return parser


def _show(places: Places, *, as_json: bool) -> int:
    if not declared_cards(places):
        print("{}" if as_json else "the inventory gives this host no GPU (farrier_gpus)")
        return WELL
    state = read_json(places.state) or None
    unknown = show.watcher_problem(state, time.clock_gettime(time.CLOCK_BOOTTIME))
    if as_json:
        print(json.dumps((state or {}) | {"problem": unknown}, indent=2))
    elif state is not None and not unknown:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print("\n".join(show.lines(state, width)))
    if unknown:
        print(f"farrier-gpus: {unknown}", file=sys.stderr)
        return UNKNOWN
    return UNWELL if state and problems(state) else WELL


def _forget(places: Places, card: str) -> None:
    pci = pci_address(card)
    state: dict[str, Any] = read_json(places.state)
    numbers = {each["pci"]: each["xid_number"] for each in state.get("cards", ())}
    if pci not in numbers:
        raise Refused(f"{pci} is none of this host's cards: {', '.join(numbers) or 'it has none'}")
    if numbers[pci] is None:
        return
    replace(places.forgotten, json.dumps(read_json(places.forgotten) | {pci: numbers[pci]}) + "\n")


def _by_driver(places: Places) -> Callable[[str], str | None]:
    """Asks NVML for the UUID of a card; only a card that nothing has woken yet needs it."""

    def uuid_of(pci: str) -> str | None:
        driver = Driver(places)
        driver.look(LIMIT)
        cards = (driver.reading or {}).get("cards", ())
        return next((card.get("uuid") for card in cards if card["pci"] == pci), None)

    return uuid_of
