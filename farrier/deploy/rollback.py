"""`farrier rollback`: back to an earlier release, in seconds and whatever the repository looks like today."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from farrier.deploy.outcome import EXIT_CODES, Result, of_answer, worst
from farrier.deploy.runner import Play
from farrier.deploy.session import Answer, Interrupted, answers, need_inventory
from farrier.deploy.show import follower, last_lines
from farrier.deploy.status import told_after_interrupt
from farrier.who import who


def rollback(
    stack: Annotated[str, typer.Argument(help="The stack.")],
    limit: Annotated[str, typer.Option("--limit", "-l", help="The host, as the inventory names it.")],
    release: Annotated[str, typer.Argument(help="The release's id; the one before when not given.")] = "",
    inventory: Annotated[str, typer.Option("--inventory", "-i", help="The inventory.")] = "inventory/hosts.yml",
    reason: Annotated[str, typer.Option(help="Why; kept in the host's history.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="farrier-release's own answer by host.")] = False,
) -> None:
    """Make an earlier release of a stack live again. It needs no plan, and no network but SSH."""
    need_inventory(inventory)
    variables: dict[str, str | bool] = {"farrier_who": who(), "farrier_stack": stack}
    variables |= {"farrier_release": release} if release else {}
    variables |= {"farrier_reason": reason} if reason else {}
    try:
        found, ended = answers(Play("playbooks/rollback.yml", inventory, limit, variables=variables), "Roll back")
    except Interrupted:
        for host, told in told_after_interrupt(inventory, limit).items():
            typer.echo("\n".join(f"{host}: {line}" for line in told), err=True)
        raise typer.Exit(Result.INTERRUPTED.code) from None
    results = {host: of_answer(answer.answer or {}, answer.code) for host, answer in found.items()}
    result = worst(results.values())
    if as_json:
        hosts = {host: answer.answer or {"error": answer.error} for host, answer in found.items()}
        typer.echo(json.dumps({"result": result.word, "exit_code": result.code, "hosts": hosts}, indent=2))
    for host, answer in found.items() if not as_json else ():
        for line in lines(host, stack, answer, results[host]):
            typer.echo(line, file=sys.stdout if results[host].code in (0, 3) else sys.stderr)
    if not found:
        typer.echo("\n".join(last_lines(ended.output)), err=True)
    raise typer.Exit(result.code)


rollback.__doc__ = f"{rollback.__doc__}\n\n{EXIT_CODES}"


def lines(host: str, stack: str, answer: Answer, result: Result) -> list[str]:
    """What people read of one host."""
    told: dict[str, Any] = answer.answer or {}
    if answer.answer is None:
        return [f"{host} {stack}: {answer.error or 'the host gave no answer'}"]
    head = f"{host} {stack}: release {told.get('release')}, {result.word}, {told.get('seconds', 0):.1f} s"
    said = [f"  {line}" for line in [*told.get("said", ()), *str(told.get("error") or "").splitlines()]]
    restarted = [f"  restarted  {unit}" for unit in told.get("restarted", ())]
    return [head, *said, *restarted, *(f"  later      {follower(each)}" for each in told.get("followers", ()))]
