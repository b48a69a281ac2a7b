"""`farrier rotate`: another password in the place of an old one, without an error of anybody."""

from __future__ import annotations

from typing import Annotated

import typer

from farrier.deploy.answered import tell
from farrier.deploy.outcome import EXIT_CODES, Result
from farrier.deploy.runner import Play
from farrier.deploy.session import Interrupted, answers, need_inventory
from farrier.who import who


def rotate(
    stack: Annotated[str, typer.Argument(help="The stack.")],
    secret: Annotated[str, typer.Argument(help="The secret, for example redis-password.")],
    limit: Annotated[str, typer.Option("--limit", "-l", help="Hosts or groups, as the inventory names them.")],
    inventory: Annotated[str, typer.Option("--inventory", "-i", help="The inventory.")] = "inventory/hosts.yml",
    reason: Annotated[str, typer.Option(help="Why; kept in the host's history.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="farrier-release's own answer by host.")] = False,
) -> None:
    """Replace a password that Farrier made, while everything serves. One that was cut goes on when it is run again."""
    need_inventory(inventory)
    variables: dict[str, str | bool] = {"farrier_who": who(), "farrier_stack": stack, "farrier_secret": secret}
    variables |= {"farrier_reason": reason} if reason else {}
    try:
        found, ended = answers(Play("playbooks/rotate.yml", inventory, limit, variables=variables), "Rotate")
    except Interrupted:
        typer.echo("interrupted; what the host does goes on, or goes on when this is run again", err=True)
        raise typer.Exit(Result.INTERRUPTED.code) from None
    raise typer.Exit(tell(found, ended, stack, as_json=as_json))


rotate.__doc__ = f"{rotate.__doc__}\n\n{EXIT_CODES}"
