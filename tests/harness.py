"""What `make bench` and `make faults` share: find the functions, run them, print a table, write JSON."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    name: str
    figure: float
    unit: str


@dataclass(frozen=True)
class Observation:
    """What a caused fault did, beside what was promised."""

    fault: str
    promise: str
    observed: str
    ok: bool


type_of_row = {"bench": Figure, "faults": Observation}


def run(kind: str, only: Collection[str] = (), publish: Callable[[list[Observation]], None] | None = None) -> int:
    """Run what the modules of tests/<kind> list in RUN (`only`: of the modules named), write build/<kind>.json.

    `publish` gets the observations of a whole run. Returns the exit code: 1 when an observation is not ok, or a
    function died.
    """
    rows: list[Figure | Observation] = []
    failed = False
    for function in _functions(kind, only):
        print(f"==> {function.__module__.rpartition('.')[2]}: {function.__name__}", file=sys.stderr, flush=True)
        try:
            for row in function():
                print(f"    {line(row)}", file=sys.stderr, flush=True)
                rows.append(row)
        except Exception as error:  # noqa: BLE001 - one that dies must not hide what the others found
            Console(stderr=True).print_exception()
            print(f"{function.__name__} died: {error}", file=sys.stderr)
            failed = True
    _print(kind, rows)
    _write(kind, rows)
    if publish is not None and not only and not failed:
        publish([row for row in rows if isinstance(row, Observation)])
    return 1 if failed or any(isinstance(row, Observation) and not row.ok for row in rows) else 0


def _functions(kind: str, only: Collection[str]) -> list[Callable[[], Iterator[Figure | Observation]]]:
    modules = [path for path in sorted((ROOT / "tests" / kind).glob("[a-z]*.py")) if not only or path.stem in only]
    return [function for path in modules for function in importlib.import_module(f"tests.{kind}.{path.stem}").RUN]


def line(row: Figure | Observation) -> str:
    """One row as it comes: half an hour of silence would look like a hang."""
    if isinstance(row, Figure):
        return f"{row.name}: {row.figure:.3g} {row.unit}"
    return f"{'kept' if row.ok else 'NOT KEPT'}: {row.fault}: {row.observed}"


def _print(kind: str, rows: list[Figure | Observation]) -> None:
    table = Table(title=kind)
    for field in fields(type_of_row[kind]):
        table.add_column(field.name)
    for row in rows:
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in asdict(row).values()))
    Console().print(table)


def _write(kind: str, rows: list[Figure | Observation]) -> None:
    path = ROOT / "build" / f"{kind}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    print(f"written: {path.relative_to(ROOT)}")
