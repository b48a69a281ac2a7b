"""`farrier rollback`: back to an earlier release, in seconds and whatever the repository looks like today."""

from __future__ import annotations

from typing import Annotated

import typer

from farrier.deploy.answered import tell
from farrier.deploy.outcome import EXIT_CODES, Result
from farrier.deploy.runner import Play
from farrier.deploy.session import Interrupted, answers, need_inventory
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
    raise typer.Exit(tell(found, ended, stack, as_json=as_json))


rollback.__doc__ = f"{rollback.__doc__}\n\n{EXIT_CODES}"
