"""`python -m app.core.ledger.migrate`: bring the ledger to the schema of this code, once, before its services serve.

Everything is tried on a copy first, and then done in one transaction: a migration happens whole or not at all.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from app.core.ledger import snapshot
from app.core.ledger.database import FILE, LOCK
from app.core.ledger.layout import Layout, contractions, layout_of
from app.core.ledger.revisions import Revision, Revisions, broken, schema_of

BUSY_SECONDS = 15.0
REHEARSAL = ".rehearsal"


class Refused(Exception):
    """The migration is not to be done: a kept release could not live with it. Nothing was changed."""


class Failed(Exception):
    """The migration cannot be done here and now. The ledger is as it was."""


@dataclass(frozen=True)
class Migration:
    """What is asked for. `kept`: the schemas that kept older releases write; `busy`: seconds to wait for the ledger."""

    folder: Path
    snapshots: Path
    kept: Sequence[str] = ()
    check_only: bool = False
    busy: float = BUSY_SECONDS


def migrate(asked: Migration, revisions: Revisions | None = None) -> str:
    """Bring the ledger in the folder to the head; gives one line for people. Raises Refused and Failed."""
    revisions = revisions or Revisions()
    try:
        asked.folder.mkdir(parents=True, exist_ok=True)
        with _alone(asked.folder):
            return _Run(asked, revisions).run()
    except (OSError, sqlite3.Error, DatabaseError) as error:
        raise Failed(_explain(error, asked)) from error


class _Run:
    """One migration, by the process that holds the lock."""

    def __init__(self, asked: Migration, revisions: Revisions) -> None:
        self._asked, self._revisions = asked, revisions
        self._ledger = asked.folder / FILE

    def run(self) -> str:
        head = self._revisions.head
        for left in (*self._asked.snapshots.glob(f"*{REHEARSAL}"), *self._asked.snapshots.glob(f"*{snapshot.PARTIAL}")):
            snapshot.forget(left)  # of a run that was killed
        if not self._ledger.exists() and self._asked.check_only:
            return f"there is no ledger yet; it would be made with schema {head}"
        with self._engine(self._ledger) as engine:
            _keep_wal(engine)
            with engine.begin() as connection:
                schema, floor = self._now(connection)
            if schema is not None and schema >= head:
                return self._nothing_to_do(schema, floor)
            if schema is None:
                return self._make(engine)
            return self._bring_up(engine, schema)

    def _now(self, connection: Connection) -> tuple[str | None, int]:
        """The ledger's schema and floor; a ledger from before the versions is the first one's, and is told so."""
        schema = schema_of(connection)
        layout = layout_of(connection)
        if schema is None and layout:
            first = self._revisions.all[0]
            differs = _differences(layout, self._first_layout())
            if differs:
                raise Failed(
                    f"{self._ledger} says no schema and is not laid out as schema {first.id}: {differs}; "
                    f"move the file away, or restore a ledger of this stack"
                )
            schema = first.id
            if not self._asked.check_only:
                self._revisions.stamp(connection, schema)
        return schema, int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())

    def _first_layout(self) -> Layout:
        with self._engine(None) as engine, engine.begin() as connection:
            self._revisions.apply(connection, self._revisions.all[0])
            return layout_of(connection)

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
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        kept = self._asked.snapshots / f"{stamp}-{schema}.sqlite"
        trial = kept.with_name(kept.name + REHEARSAL)
        snapshot.copy(self._ledger, trial)
        try:
            self._rehearse(trial, pending)
        finally:
            snapshot.forget(trial)
        if self._asked.check_only:
            return f"the ledger can go from schema {schema} to {head}; nothing was changed"
        snapshot.copy(self._ledger, kept)
        self._apply(engine, pending)
        snapshot.prune(self._asked.snapshots)
        return f"the ledger went from schema {schema} to {head}; as it was before: {kept}"

    def _rehearse(self, trial: Path, pending: Sequence[Revision]) -> None:
        damage = snapshot.problem_of(trial)
        if damage:
            raise Failed(f"{self._ledger} is damaged ({damage}); restore a snapshot from {self._asked.snapshots}")
        with self._engine(trial) as engine:
            for revision in pending:
                with engine.begin() as connection:
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
            if any(word in said for word in _SAID):
                raise
            raise Failed(f"versions/{revision.file} failed: {said}; nothing was changed") from error

    @contextmanager
    def _engine(self, file: Path | None) -> Iterator[Engine]:
        """Connections to a database file, or to one in memory, that own the write lock in every transaction."""
        url = URL.create("sqlite", database=str(file) if file else None)
        # An in-memory database lives with its connection, which the pool of the default keeps.
        engine = create_engine(url, **({"poolclass": NullPool} if file else {}))
        event.listen(engine, "connect", self._prepare)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        try:
            yield engine
        finally:
            engine.dispose()

    def _prepare(self, connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={int(self._asked.busy * 1000)}")
        connection.execute("PRAGMA synchronous=FULL")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One migration at a time, and none while a release from before the versions lays out its tables."""
    with (folder / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _keep_wal(engine: Engine) -> None:
    """WAL mode, which the file then keeps. The change needs the ledger for itself, so it is made here and once."""
    with closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            cursor.execute("PRAGMA journal_mode=WAL")


def _differences(layout: Layout, wanted: Layout) -> str:
    """What is not as wanted, as a list of names; empty when nothing is."""
    found = sorted(set(layout) ^ set(wanted))
    for table in sorted(set(layout) & set(wanted)):
        here, there = layout[table].columns, wanted[table].columns
        names = sorted(set(here) | set(there))
        found += [f"{table}.{name}" for name in names if here.get(name) != there.get(name)]
        found += [f"{table}: {rule}" for rule in sorted(layout[table].rules ^ wanted[table].rules)]
    return ", ".join(found)


_SAID: Mapping[str, Callable[[Migration], str]] = {
    "locked": lambda asked: (
        f"another process kept the ledger locked for {asked.busy:g} s; find it with `fuser {asked.folder / FILE}`"
    ),
    "disk is full": lambda asked: (
        f"the disk is full; a migration needs room for two copies of {asked.folder / FILE} in {asked.snapshots}"
    ),
    "disk I/O error": lambda asked: f"the disk of {asked.folder} fails or is full; see `dmesg` and `df`",
    "not a database": lambda asked: f"{asked.folder / FILE} is damaged; restore a snapshot from {asked.snapshots}",
    "malformed": lambda asked: f"{asked.folder / FILE} is damaged; restore a snapshot from {asked.snapshots}",
    "No space left": lambda asked: f"the disk of {asked.snapshots} is full; make room there",
}


def _explain(error: Exception, asked: Migration) -> str:
    said = str(error.orig) if isinstance(error, DatabaseError) else str(error)
    known = next((explain(asked) for word, explain in _SAID.items() if word in said), f"in {asked.folder}")
    return f"{said}: {known}. The ledger is as it was"


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
    state = Path(environment["FARRIER_STATE"])
    kept = [schema for schema in given.kept.split(",") if schema]
    snapshots = given.snapshot_dir or state / "snapshots"
    try:
        print(migrate(Migration(state / "ledger", snapshots, kept, given.check_only)))
    except Refused as refused:
        print(f"refused: {refused}", file=sys.stderr)
        return 2
    except Failed as failed:
        print(f"failed: {failed}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
