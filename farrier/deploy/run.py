"""`farrier run`: one command in a service's place on a host, over SSH, with this terminal's input and output."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from farrier.deploy.outcome import Result
from farrier.deploy.session import ROOT, need_inventory
from farrier.inventory import inventory_variables
from farrier.problems import InvalidInput

_TOOL = "/usr/local/sbin/farrier-release"


def run(
    place: Annotated[str, typer.Argument(metavar="STACK/SERVICE", help="For example demo/web.")],
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="Program and arguments.")],
    limit: Annotated[str, typer.Option("--limit", "-l", help="The host, as the inventory names it.")],
    inventory: Annotated[str, typer.Option("--inventory", "-i", help="The inventory.")] = "inventory/hosts.yml",
) -> None:
    """Run a command with a service's user, env, credentials and sandbox; nothing of it stays on the host.

    Exits with the command's exit code: 2 where it was refused, 255 where the host cannot be reached.
    """
    need_inventory(inventory)
    try:
        variables = inventory_variables(ROOT, inventory, limit)
    except InvalidInput as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(Result.REFUSED.code) from None
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    call = ssh_command(limit, variables, [_TOOL, "run", place, "--", *command], is_terminal=is_terminal)
    raise typer.Exit(subprocess.run(call, check=False).returncode)


def ssh_command(host: str, variables: Mapping[str, Any], command: Sequence[str], *, is_terminal: bool) -> list[str]:
    """The `ssh` that reaches the host as Ansible would, by the host's inventory variables, and runs `command` there."""
    call = ["ssh", "-t" if is_terminal else "-T"]
    for variable in ("ansible_ssh_common_args", "ansible_ssh_extra_args"):
        call += shlex.split(str(variables.get(variable, "")))
    key = variables.get("ansible_ssh_private_key_file") or variables.get("ansible_private_key_file")
    user, port = variables.get("ansible_user"), variables.get("ansible_port")
    call += ["-i", str(key)] if key else []
    call += ["-l", str(user)] if user else []
    call += ["-p", str(port)] if port else []
    become = ["sudo", "-n"] if str(variables.get("ansible_become", False)).lower() in {"true", "yes", "1"} else []
    return [*call, str(variables.get("ansible_host", host)), "--", shlex.join([*become, *command])]
