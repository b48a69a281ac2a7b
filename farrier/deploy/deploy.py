"""`farrier deploy`: the main job for a person."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from farrier.deploy.outcome import EXIT_CODES, Result, result_of, worst
from farrier.deploy.runner import Play
from farrier.deploy.session import ROOT, Done, need_inventory, watched
from farrier.deploy.show import View, last_lines, summary
from farrier.deploy.status import told_after_interrupt
from farrier.lasting import lasting
from farrier.problems import InvalidInput
from farrier.who import who


def deploy(  # noqa: PLR0913, PLR0917 - each is an option of the command line
    limit: Annotated[str, typer.Option("--limit", "-l", help="Hosts or groups, as the inventory names them.")],
    inventory: Annotated[str, typer.Option("--inventory", "-i", help="The inventory.")] = "inventory/hosts.yml",
    tags: Annotated[str, typer.Option("--tags", "-t", help="Only these phases, for example files,release.")] = "",
    check: Annotated[bool, typer.Option("--check", help="Change nothing; say what would change.")] = False,
    reason: Annotated[str, typer.Option(help="Why; kept in the host's history, and production may ask for it.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for GPU workers to end their jobs.")] = False,
    now: Annotated[bool, typer.Option("--now", help="Cut the jobs of GPU workers; they are queued again.")] = False,
    lasts: Annotated[
        str,
        typer.Option("--for", metavar="TIME", help="Stop it after 30m, 2h or 1d12h and free its cards; else it stays."),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="The result as one JSON object; progress to stderr.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Ansible's own output too.")] = False,
) -> None:
    """Deploy: the same play as `ansible-playbook site.yml`, with what a person wants to see."""
    if wait and now:
        raise typer.BadParameter("--wait and --now exclude each other")
    need_inventory(inventory)
    try:
        lasting(lasts, host=limit)
    except InvalidInput as error:
        raise typer.BadParameter(error.problems[0].message, param_hint="--for") from None
    variables: dict[str, str | bool] = {"farrier_who": who()}
    variables |= {"farrier_reason": reason} if reason else {}
    variables |= {"farrier_workers": "wait" if wait else "now"} if wait or now else {}
    variables |= {"farrier_for": lasts} if lasts else {}
    view = View(sys.stderr if as_json else sys.stdout)
    play = Play("site.yml", inventory, limit, tags or None, check=check, variables=variables)
    done = watched(play, view, "deploy", verbose=verbose)
    result = _result(done)
    _tell(view, done, result, check=check)
    serves = _after_interrupt(view, done, inventory) if result is Result.INTERRUPTED else {}
    if as_json:
        typer.echo(json.dumps(as_object(done, result, check=check, reason=reason) | serves, indent=2))
    raise typer.Exit(result.code)


deploy.__doc__ = f"{deploy.__doc__}\n\n{EXIT_CODES}"


def _result(done: Done) -> Result:
    """How the whole run ended."""
    if done.interrupted:
        return Result.INTERRUPTED
    found = worst(result_of(host) for host in done.story.hosts.values())
    fine = found in (Result.DONE, Result.UNCHANGED, Result.FOLLOWS)
    return Result.ERROR if fine and done.ended.code != 0 else found


def _tell(view: View, done: Done, result: Result, *, check: bool) -> None:
    """The summary."""
    view.say("")
    for host in done.story.hosts.values():
        own = Result.INTERRUPTED if result is Result.INTERRUPTED else result_of(host)
        first, *others = summary(host, own, check=check)
        view.say(first, "bold green" if own.code == 0 else "bold yellow" if own is Result.FOLLOWS else "bold red")
        for line in others:
            view.say(line)
    if not done.story.hosts or result is Result.ERROR:
        for line in last_lines(done.ended.output):
            view.say(line)
    view.say(f"{done.seconds:.1f} s in all; log: {done.log.relative_to(ROOT)}")


def _after_interrupt(view: View, done: Done, inventory: str) -> dict[str, Any]:
    """Say what the hosts run now; nobody waits for that after a second Ctrl-C."""
    hosts = ",".join(done.story.hosts)
    if done.interrupted > 1:
        view.say(f"Ended at once; `farrier status -l {hosts}` tells what runs.")
        return {}
    found = told_after_interrupt(inventory, hosts) if hosts else {}
    for host, lines in found.items():
        for line in lines:
            view.say(f"{host}: {line}")
    return {"serves": found}


def as_object(done: Done, result: Result, *, check: bool, reason: str) -> dict[str, Any]:
    """What --json prints."""
    hosts = {
        host.name: {
            "result": (Result.INTERRUPTED if result is Result.INTERRUPTED else result_of(host)).word,
            "changed": host.changed,
            "warnings": host.warnings,
            "stacks": host.stacks,
            "phases": {phase.name: round(phase.seconds or 0, 1) for phase in host.phases},
            "seconds": round(host.seconds, 1),
            "error": host.failure,
        }
        for host in done.story.hosts.values()
    }
    return {
        "result": result.word,
        "exit_code": result.code,
        "check": check,
        "who": who(),
        "reason": reason,
        "seconds": round(done.seconds, 1),
        "log": str(done.log),
        "hosts": hosts,
        "error": "" if hosts else "\n".join(last_lines(done.ended.output)),
    }
