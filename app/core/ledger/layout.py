"""What tables a ledger has, and which changes of them code that knew only the tables before could not live with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, inspect
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.engine.reflection import Inspector

from app.core.ledger.floor import VERSION_TABLE


@dataclass(frozen=True, slots=True)
class ColumnLayout:
    """One column as the database describes it."""

    type: str
    nullable: bool
    default: str | None


@dataclass(frozen=True, slots=True)
class TableLayout:
    """One table. `rules`: what it refuses to store, each rule in words that name its columns."""

    columns: Mapping[str, ColumnLayout]
    rules: frozenset[str]


Layout = Mapping[str, TableLayout]


def layout_of(connection: Connection) -> Layout:
    """The tables as they are, without the one that holds the schema's number."""
    inspector = inspect(connection)
    return {name: _table(inspector, name) for name in inspector.get_table_names() if name != VERSION_TABLE}


def _table(inspector: Inspector, name: str) -> TableLayout:
    columns = {column["name"]: _column(column) for column in inspector.get_columns(name)}
    return TableLayout(columns, frozenset(_rules(inspector, name)))


def _column(column: ReflectedColumn) -> ColumnLayout:
    return ColumnLayout(str(column["type"]), column["nullable"], column["default"])


def _rules(inspector: Inspector, table: str) -> Iterator[str]:
    yield f"a primary key on {_list(inspector.get_pk_constraint(table)['constrained_columns'])}"
    for unique in inspector.get_unique_constraints(table):
        yield f"a unique constraint on {_list(unique['column_names'])}"
    for index in inspector.get_indexes(table):
        if index["unique"]:
            yield f"a unique index on {_list(name or 'an expression' for name in index['column_names'])}"
    for check in inspector.get_check_constraints(table):
        yield f"a CHECK ({check['sqltext']})"
    for key in inspector.get_foreign_keys(table):
        yield f"a foreign key from {_list(key['constrained_columns'])} to {key['referred_table']}"


def _list(names: Iterator[str] | list[str]) -> str:
    return ", ".join(names)


def contractions(before: Layout, after: Layout) -> list[str]:
    """What code of `before` could not live with in `after`, each as a sentence that names table and column."""
    found = []
    for name, old in before.items():
        new = after.get(name)
        if new is None:
            found.append(f"table {name} is dropped or renamed")
            continue
        found += [f"{name}.{column} {what}" for column, what in _columns(old, new)]
        found += [f"table {name} gets {rule}" for rule in sorted(new.rules - old.rules)]
    return found


def _columns(old: TableLayout, new: TableLayout) -> Iterator[tuple[str, str]]:
    for name, column in old.columns.items():
        if name not in new.columns:
            yield name, "is dropped or renamed"
        else:
            yield from ((name, what) for what in _changed(column, new.columns[name]))
    for name, column in new.columns.items():
        if name not in old.columns and not column.nullable and column.default is None:
            yield name, "is new, NOT NULL and without a server default"


def _changed(old: ColumnLayout, new: ColumnLayout) -> Iterator[str]:
    if old.type != new.type:
        yield f"changes its type from {old.type} to {new.type}"
    # A server default does not help: code that knows the column writes NULL into it by name.
    if old.nullable and not new.nullable:
        yield "becomes NOT NULL"
    if old.default is not None and new.default is None and not new.nullable:
        yield "loses its server default and is NOT NULL"


def differences(layout: Layout, wanted: Layout) -> str:
    """What is not as wanted, as a list of names; empty when nothing is."""
    found = sorted(set(layout) ^ set(wanted))
    for table in sorted(set(layout) & set(wanted)):
        here, there = layout[table].columns, wanted[table].columns
        names = sorted(set(here) | set(there))
        found += [f"{table}.{name}" for name in names if here.get(name) != there.get(name)]
        found += [f"{table}: {rule}" for rule in sorted(layout[table].rules ^ wanted[table].rules)]
    return ", ".join(found)
