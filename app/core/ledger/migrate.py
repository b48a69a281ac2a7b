"""`python -m app.core.ledger.migrate`: bring the ledger to the schema of this code, once, before its services serve.

Everything is tried first, and then done in one transaction: a migration happens whole or not at all.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DatabaseError

from app.core.ledger.file_home import FileHome
from app.core.ledger.floor import floor_of, schema_of
from app.core.ledger.home import Failed, Home, Refused
from app.core.ledger.layout import contractions, layout_of
from app.core.ledger.place import Place, place_of
from app.core.ledger.revisions import Revision, Revisions, broken
from app.core.ledger.server_home import ServerHome

BUSY_SECONDS = 15.0


@dataclass(frozen=True)
class Migration:
    """What is asked for. `kept`: the schemas that kept older releases write; `busy`: seconds to wait for the ledger."""

    place: Place
    snapshots: Path
    kept: Sequence[str] = ()
    check_only: bool = False
    busy: float = BUSY_SECONDS

    def home(self) -> Home:
        """The ledger as its migration sees it."""
        if isinstance(self.place, Path):
            return FileHome(self.place, self.snapshots, self.busy)
        return ServerHome(self.place, self.snapshots, self.busy)


def migrate(asked: Migration, revisions: Revisions | None = None) -> str:
    """Bring the ledger to the head; gives one line for people. Raises Refused and Failed."""
    revisions = revisions or Revisions()
    home = asked.home()
    try:
        with home.alone():
            return _Run(asked, home, revisions).run()
    except (OSError, sqlite3.Error, DatabaseError) as error:
        said = str(error.orig) if isinstance(error, DatabaseError) else str(error)
        raise Failed(f"{said}: {home.explain(said) or f'in {home.name}'}. The ledger is as it was") from error


class _Run:
    """One migration, by the process that holds the lock."""

    def __init__(self, asked: Migration, home: Home, revisions: Revisions) -> None:
        self._asked, self._home, self._revisions = asked, home, revisions

    def run(self) -> str:
        head = self._revisions.head
        self._home.clean()
        if self._home.is_missing() and self._asked.check_only:
            return f"there is no ledger yet; it would be made with schema {head}"
        with self._home.engine() as engine:
            with engine.begin() as connection:
                schema, floor = self._now(connection)
            if schema is not None and schema >= head:
                return self._nothing_to_do(schema, floor)
            if schema is None:
                return self._make(engine)
            return self._bring_up(engine, schema)

    def _now(self, connection: Connection) -> tuple[str | None, int]:
        """The ledger's schema and floor; a ledger from before the versions is told its own."""
        schema = schema_of(connection)
        layout = layout_of(connection)
        if schema is None and layout:
            schema = self._home.adopts(layout, self._revisions).id
            if not self._asked.check_only:
                self._revisions.stamp(connection, schema)
        return schema, floor_of(connection)

    def _nothing_to_do(self, schema: str, floor: int) -> str:
        head = self._revisions.head
        if int(head) < floor:
            raise Refused(
                f"the ledger has schema {schema}, which code of schema {floor:04} and later can serve; this code has "
                f"{head}: deploy a newer release, or restore a snapshot of an older schema"
            )
        newer = "" if schema == head else f", newer than this code's {head}, which can serve it"
        return f"the ledger has schema {schema}{newer}: nothing to do"

    def _make(self, engine: Engine) -> str:
        head = self._revisions.head
        if self._asked.check_only:
            return f"the ledger is empty; it would be made with schema {head}"
        self._apply(engine, self._revisions.all)
        return f"the ledger is made with schema {head}"

    def _bring_up(self, engine: Engine, schema: str) -> str:
        head, pending = self._revisions.head, self._revisions.after(schema)
        label = f"{datetime.now(UTC).strftime('%Y%m%dT%H%M%S.%fZ')}-{schema}"
        with self._home.trial(engine, label) as connection:
            self._rehearse(connection, pending)
        if self._asked.check_only:
            return f"the ledger can go from schema {schema} to {head}; nothing was changed"
        kept = self._home.keep(label)
        self._apply(engine, pending)
        self._home.prune()
        return f"the ledger went from schema {schema} to {head}; as it was before: {kept}"

    def _rehearse(self, connection: Connection, pending: Sequence[Revision]) -> None:
        for revision in pending:
            before = layout_of(connection)
            self._one(connection, revision)
            self._judge(revision, contractions(before, layout_of(connection)))

    def _judge(self, revision: Revision, found: Sequence[str]) -> None:
        """Raises Refused when the migration does more than it says, or a kept release cannot live with it."""
        where = f"versions/{revision.file}"
        breaks = broken(self._asked.kept, revision.floor or revision.id)
        if found and revision.floor is None:
            whom = f"kept releases of schema {', '.join(breaks)}" if breaks else "releases of an older schema"
            raise Refused(
                f"{where} says EXPANDS = True, but {'; '.join(found)}: {whom} could not work with the ledger any more. "
                "Add a new nullable column or table instead, and take the old one away in a later release, in a "
                "migration of its own with EXPANDS = False"
            )
        if revision.floor is not None and breaks:
            what = "; ".join(found) or "it says EXPANDS = False"
            raise Refused(
                f"{where}: {what}: only code of schema {revision.floor} and later can serve that, and releases of "
                f"schema {', '.join(breaks)} are kept. Deploy it when no release older than schema {revision.floor} "
                "is kept any more"
            )

    def _apply(self, engine: Engine, pending: Sequence[Revision]) -> None:
        with engine.begin() as connection:
            for revision in pending:
                self._one(connection, revision)

    def _one(self, connection: Connection, revision: Revision) -> None:
        try:
            self._revisions.apply(connection, revision)
        except DatabaseError as error:
            said = str(error.orig)
            if self._home.explain(said):
                raise
            raise Failed(f"versions/{revision.file} failed: {said}; nothing was changed") from error


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m app.core.ledger.migrate", description=__doc__)
    parser.add_argument("--kept", default="", help="schemas that kept older releases write: 0001,0002")
    parser.add_argument("--snapshot-dir", type=Path, help="where snapshots lie; $FARRIER_STATE/snapshots if not given")
    parser.add_argument("--check-only", action="store_true", help="try it on a copy, and change nothing")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Exit codes: 0 the ledger is at the head, 1 it could not be brought there, 2 refused; unchanged in both."""
    given = _arguments(arguments)
    if not environment.get("FARRIER_STATE"):
        print("FARRIER_STATE is not set: the stack's data folder", file=sys.stderr)
        return 1
    kept = [schema for schema in given.kept.split(",") if schema]
    snapshots = given.snapshot_dir or Path(environment["FARRIER_STATE"]) / "snapshots"
    try:
        print(migrate(Migration(place_of(environment), snapshots, kept, given.check_only)))
    except ValueError as wrong:
        print(wrong, file=sys.stderr)
        return 1
    except Refused as refused:
        print(f"refused: {refused}", file=sys.stderr)
        return 2
    except Failed as failed:
        print(f"failed: {failed}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
