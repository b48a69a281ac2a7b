"""Commands that only ask: one question to every host, and a table of the answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from farrier.deploy.outcome import Result
from farrier.deploy.runner import Play
from farrier.deploy.session import Answer, Interrupted, answers
from farrier.deploy.show import last_lines

Found = Mapping[str, Answer]


@dataclass(frozen=True)
class View:
    """How people are shown the answers: a table with some `rows` for each host, and `notes` on all of them below it."""

    bare: Any  # the answer of a host that does not have the program that was to answer: nothing is there, no error
    columns: Sequence[str]
    rows: Callable[[str, Answer], Iterable[Sequence[str]]]
    notes: Callable[[Found], Iterable[str]]

    def table(self, found: Found) -> Table:
        """The table."""
        shown = Table(box=None, pad_edge=False, header_style="dim")
        for column in self.columns:
            shown.add_column(column, overflow="fold")
        for host, answer in found.items():
            for row in self.rows(host, answer):
                shown.add_row(*(Text(cell) for cell in row))
        return shown


def asked(play: Play, bare: Any) -> tuple[dict[str, Answer], str]:
    """Each host's answer (`bare`: see View), and what Ansible said besides. Raises Interrupted."""
    found, ended = answers(play, "Ask the host")
    return {host: known(answer, bare) for host, answer in sorted(found.items())}, ended.output


def known(answer: Answer, bare: Any) -> Answer:
    """The answer, or `bare` where the program is not there."""
    is_bare = answer.answer is None and "No such file or directory" in answer.error
    return Answer(0, bare, "") if is_bare else answer


def show(play: Play, view: View, *, as_json: bool) -> Found:
    """Ask all hosts and print what they said, for people or as JSON; the answers.

    Raises typer.Exit where somebody interrupts, or no host is there to answer (4).
    """
    try:
        found, output = asked(play, view.bare)
    except Interrupted:
        raise typer.Exit(Result.INTERRUPTED.code) from None
    if not found:
        typer.echo("\n".join(last_lines(output)) or "there is no host in this inventory", err=True)
        raise typer.Exit(4)
    if as_json:
        told = {host: answer.answer if not answer.error else {"error": answer.error} for host, answer in found.items()}
        typer.echo(json.dumps(told, indent=2, sort_keys=True))
    else:
        # In a file or a pipe no line is folded.
        console = Console(highlight=False, width=None if sys.stdout.isatty() else 240)
        console.print(view.table(found))
        for line in view.notes(found):
            console.print(Text(line))
    return found
