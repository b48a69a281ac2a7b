"""What a stack's migrations say of its database, read from their files without running any code of the stack."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farrier.problems import Problem

_FILE = re.compile(r"^(\d{4})_\w+\.py$")
_MISSING = object()


@dataclass(frozen=True)
class Schema:
    """`writes`: the newest schema. `floor`: the oldest one whose code can serve it. `reads`: from floor to writes."""

    writes: str
    floor: str
    reads: tuple[str, ...]


@dataclass(frozen=True)
class _Migration:
    """One file. `values`: its constants; `lines`: where each stands."""

    number: str
    name: str
    values: Mapping[str, Any]
    lines: Mapping[str, int]

    def get(self, constant: str) -> Any:
        return self.values.get(constant, _MISSING)

    def problem(self, constant: str, message: str) -> Problem:
        return Problem(self.name, self.lines.get(constant, 0), constant, message)


def read_schema(files: Mapping[str, Path]) -> tuple[Schema | None, list[Problem]]:
    """The schema that the migrations lead to, or their problems. `files`: name for people -> file."""
    migrations, problems = [], []
    for name, path in sorted(files.items(), key=lambda item: item[1].name):
        match = _FILE.match(path.name)
        if match is None:
            if path.suffix == ".py":
                problems.append(
                    Problem(name, 0, "", "call a migration like 0002_what_it_does.py, in the order they run")
                )
            continue
        try:
            migrations.append(_parse(match[1], name, path))
        except SyntaxError as error:
            problems.append(Problem(name, error.lineno or 0, "", f"not valid Python: {error.msg}"))
    if not problems:
        problems = [problem for index, _ in enumerate(migrations) for problem in _check(migrations, index)]
    return (None, problems) if problems or not migrations else (_schema(migrations), [])


def _schema(migrations: Sequence[_Migration]) -> Schema:
    writes = migrations[-1].number
    floors = [each.values.get("FLOOR", each.number) for each in migrations if not each.values["EXPANDS"]]
    floor = max(floors, default=migrations[0].number)
    return Schema(writes, floor, tuple(each.number for each in migrations if each.number >= floor))


def _parse(number: str, name: str, path: Path) -> _Migration:
    values, lines = {}, {}
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            target = node.target
        else:
            continue
        if isinstance(target, ast.Name):
            lines[target.id] = node.lineno
            values[target.id] = node.value.value if isinstance(node.value, ast.Constant) else _MISSING
    return _Migration(number, name, values, lines)


def _check(migrations: Sequence[_Migration], index: int) -> list[Problem]:
    """What is wrong with one migration, given those before it."""
    this = migrations[index]
    before = migrations[index - 1].number if index else None
    problems = []
    if index and before == this.number:
        return [Problem(this.name, 0, "", f"{migrations[index - 1].name} has the same number; give this one the next")]
    if this.get("revision") != this.number:
        problems.append(this.problem("revision", f'write revision = "{this.number}", as the file\'s name says'))
    if this.get("down_revision") != before:
        wanted = f'"{before}"' if before else "None"
        problems.append(this.problem("down_revision", f"write down_revision = {wanted}, the migration before this one"))
    if not isinstance(this.get("EXPANDS"), bool):
        problems.append(
            this.problem("EXPANDS", "write EXPANDS = True when code of the schema before can go on working, else False")
        )
    elif not index and this.get("EXPANDS") is False:
        problems.append(this.problem("EXPANDS", "write EXPANDS = True: there is nothing before the first migration"))
    floor = this.get("FLOOR")
    if floor is not _MISSING and (this.get("EXPANDS") is True or floor not in [m.number for m in migrations[:index]]):
        message = "FLOOR stands beside EXPANDS = False and names an earlier schema whose code no longer uses what goes"
        problems.append(this.problem("FLOOR", message))
    return problems
