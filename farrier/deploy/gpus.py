"""`farrier gpus`: the graphics cards of every host, and who holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from farrier.deploy import hosts
from farrier.deploy.runner import Play
from farrier.deploy.session import Answer, need_inventory
from farrier_host.gpu import show
from farrier_host.gpu.state import problems

_NO_CARD = "the inventory gives it no GPU (farrier_gpus)"
_BARE = "Farrier has put nothing onto this host yet"


def gpus(
    limit: Annotated[str, typer.Option("--limit", "-l", help="Hosts or groups; all when not given.")] = "",
    inventory: Annotated[str, typer.Option("--inventory", "-i", help="The inventory.")] = "inventory/hosts.yml",
    as_json: Annotated[bool, typer.Option("--json", help="farrier-gpus' own answer by host.")] = False,
) -> None:
    """Show cards, units, processes and memory: ours and foreign ones.

    Exits 1 when a card or a driver is not well, 4 when a host could not be asked, else 0.
    """
    need_inventory(inventory)
    play = Play("playbooks/gpus.yml", inventory, limit or None, variables={"farrier_json": True})
    found = hosts.show(play, hosts.View(None, ("host", *show.COLUMNS), rows, notes), as_json=as_json)
    raise typer.Exit(code_of(found))


def code_of(found: Mapping[str, Answer]) -> int:
    """The exit code."""
    if any(answer.error for answer in found.values()):
        return 4
    return 1 if any(_wrong(answer.answer or {}) for answer in found.values()) else 0


def rows(host: str, answer: Answer) -> Iterator[tuple[str, ...]]:
    """The lines of one host; one that could not be asked, or has no card, is a line too."""
    state: dict[str, Any] = answer.answer or {}
    if answer.error:
        yield (host, "", answer.error.splitlines()[0])
    elif "cards" in state and not state.get("problem"):
        for row in show.rows(state):
            yield (host, *row)
    elif not state.get("problem"):
        yield (host, "", _BARE if answer.answer is None else _NO_CARD)


def notes(found: Mapping[str, Answer]) -> Iterator[str]:
    """What is wrong, and what to do."""
    for host, answer in found.items():
        for problem in _wrong(answer.answer or {}):
            yield f"{host}: {problem}"


def _wrong(state: Mapping[str, Any]) -> list[str]:
    if state.get("problem"):
        return [str(state["problem"])]
    return problems(state) if "cards" in state else []
