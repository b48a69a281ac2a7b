"""`farrier status`: what every host runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from farrier.deploy import hosts
from farrier.deploy.runner import Play
from farrier.deploy.session import Answer, Interrupted, need_inventory
from farrier.deploy.show import follower

_NONE_YET = "Farrier has made nothing live here yet"
COLUMNS = ("host", "stack", "service", "release", "unit", "health", "since (UTC)")


def status(
    stack: Annotated[str, typer.Argument(help="One stack; all when not given.")] = "",
    limit: Annotated[str, typer.Option("--limit", "-l", help="Hosts or groups; all when not given.")] = "",
    inventory: Annotated[str, typer.Option("--inventory", "-i", help="The inventory.")] = "inventory/hosts.yml",
    as_json: Annotated[bool, typer.Option("--json", help="farrier-release's own answer by host.")] = False,
) -> None:
    """Show what is live: hosts, stacks, services. Exits 4 when a host could not be asked, else 0."""
    need_inventory(inventory)
    view = hosts.View({}, COLUMNS, rows, notes)
    found = hosts.show(_play(inventory, limit, stack), view, as_json=as_json)
    if any(answer.error for answer in found.values()):
        raise typer.Exit(4)


def _play(inventory: str, limit: str, stack: str = "") -> Play:
    variables: dict[str, str | bool] = {"farrier_json": True} | ({"farrier_stack": stack} if stack else {})
    return Play("playbooks/status.yml", inventory, limit or None, variables=variables)


def rows(host: str, answer: Answer) -> Iterator[tuple[str, ...]]:
    """The lines of one host; one that could not be asked is a line too."""
    if answer.error:
        yield (host, answer.error.splitlines()[0])
        return
    if not answer.answer:
        yield (host, _NONE_YET)
    for stack, state in (answer.answer or {}).items():
        health = _health(state)
        units = state.get("units") or [{"unit": "", "state": "", "since": state.get("since", ""), "release": None}]
        for unit in units:
            release = unit.get("release") or state.get("active") or "nothing"
            since = str(unit.get("since") or state.get("since") or "").removesuffix(" UTC")
            yield (host, stack, service_of(stack, unit["unit"]), release, unit["state"], health, since)


def service_of(stack: str, unit: str) -> str:
    """`worker@0` of `demo-worker@0.service`; a unit that is no service keeps its ending (`web.socket`)."""
    return unit.removeprefix(f"{stack}-").removesuffix(".service")


def _health(state: Mapping[str, Any]) -> str:
    """Whether the stack is ready, or on trial."""
    if state.get("active") is None:
        return ""
    if state.get("phase", "confirmed") != "confirmed":
        return str(state["phase"])
    health = {True: "ready", False: "NOT READY"}.get(state.get("ready", None), "?")
    box = state.get("box") or {}
    return f"{health}, {str(box['text']).partition(';')[0]}" if box else health


def notes(found: Mapping[str, Answer]) -> Iterator[str]:
    """What does not fit into the table: who follows later, what went back and why, what is not proven yet."""
    for host, answer in found.items():
        for stack, state in ((answer.answer or {}) if not answer.error else {}).items():
            for each in state.get("followers") or ():
                yield f"{host} {stack}: {follower(each)}"
            for unit, why in (state.get("alone") or {}).items():
                yield f"{host} {stack}: {unit} went back alone: {str(why).partition(chr(10))[0]}"
            if state.get("unproven"):
                yield f"{host} {stack}: {state['unproven']}"
            if ";" in str((state.get("box") or {}).get("text")):  # it is near, and there is something to do
                yield f"{host} {stack}: {state['box']['text']}"
            if state.get("message"):
                yield f"{host} {stack}: {str(state['message']).splitlines()[0]}"


def told_after_interrupt(inventory: str, limit: str) -> dict[str, list[str]]:
    """For each host the sentences that say what it runs now; a second Ctrl-C ends the asking."""
    try:
        found, _ = hosts.asked(_play(inventory, limit), {})
    except Interrupted:
        return {limit: [f"ended at once; `farrier status -l {limit}` tells what runs"]}
    return {host: [answer.error] if answer.error else serving(answer.answer) for host, answer in found.items()}


def serving(stacks: Mapping[str, Any]) -> list[str]:
    """For each stack one sentence that says what serves, for somebody who interrupted a run."""
    lines = []
    for stack, state in stacks.items():
        active, phase = state.get("active"), state.get("phase", "confirmed")
        if phase == "activating":
            lines.append(f"{stack}: the activation of {active} goes on by itself on the host")
        elif phase == "unconfirmed":
            lines.append(f"{stack}: {active} is live on trial; the host confirms it, or goes back by itself")
        else:
            lines.append(f"{stack}: release {active} serves" if active else f"{stack}: nothing is live")
    return lines or [_NONE_YET]
