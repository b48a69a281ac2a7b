"""The `farrier` command: decides and shows; what it does to a host, a play does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from farrier.conda.cli import lock
from farrier.deploy.deploy import deploy
from farrier.deploy.gpus import gpus
from farrier.deploy.rollback import rollback
from farrier.deploy.rotate import rotate
from farrier.deploy.run import run
from farrier.deploy.status import status
from farrier.effects.ask import NoAnswer, ask
from farrier.effects.text import as_lines
from farrier.inventory import inventory_variables, pointed
from farrier.planning import plan_for
from farrier.problems import InvalidInput
from farrier.reference import stack_reference
from farrier.report import show_plan

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
app.command("deploy")(deploy)
app.command("rollback")(rollback)
app.command("status")(status)
app.command("rotate")(rotate)
app.command("run")(run)
app.command("gpus")(gpus)
app.command("lock")(lock)

_ROOT = Path(__file__).resolve().parent.parent


@app.command()
def plan(
    host: Annotated[str, typer.Option("--limit", "-l", help="The host, as the inventory names it.")],
    inventory: Annotated[str, typer.Option("--inventory", "-i", help="The inventory.")] = "inventory/hosts.yml",
    as_json: Annotated[bool, typer.Option("--json", help="The whole plan as JSON, for machines and `diff`.")] = False,
    effects: Annotated[
        bool, typer.Option("--effects", help="Ask the host, and show what a deploy would do to it.")
    ] = False,
) -> None:
    """Show what the stack files mean on one host, without asking it but for --effects. Exits 1 with every problem."""
    try:
        made = plan_for(_ROOT, host, inventory_variables(_ROOT, inventory, host))
    except InvalidInput as error:
        typer.echo(str(pointed(error, _ROOT / inventory, host, _ROOT)), err=True)
        raise typer.Exit(1) from None
    if effects:
        show_effects(inventory, host, as_json=as_json)
    elif as_json:
        typer.echo(json.dumps(made.model_dump(mode="json"), indent=2, sort_keys=True))
    else:
        show_plan(made)


def show_effects(inventory: str, host: str, *, as_json: bool) -> None:
    """Print what a deploy would do to the host. Exits 1 with what Ansible says when it cannot be told."""
    try:
        found = ask(_ROOT, inventory, host)
    except NoAnswer as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(json.dumps(found.model_dump(mode="json"), indent=2) if as_json else "\n".join(as_lines(found)))


@app.command()
def reference(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 when the file is not up to date.")
    ] = False,
) -> None:
    """Write docs/reference/stack.md, the reference of the stack file, from the model."""
    path, text = _ROOT / "docs" / "reference" / "stack.md", stack_reference()
    if check:
        current = path.read_text(encoding="utf-8") if path.exists() else ""
        if current != text:
            typer.echo("docs/reference/stack.md is not up to date: run `farrier reference`", err=True)
            raise typer.Exit(1)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
