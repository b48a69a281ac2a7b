"""Connections to the ledger's database: SQLite in WAL mode, every write in BEGIN IMMEDIATE."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text

from app.core.ledger.tables import SCHEMA

BUSY_TIMEOUT_MS = 5000
FILE = "ledger.sqlite"
LOCK = "layout.lock"
VERSION_TABLE = "alembic_version"
MIGRATE = "`python -m app.core.ledger.migrate` with this release's environment, which a deploy does by itself"


class LedgerMismatch(ValueError):
    """The ledger is not there, or has a schema that this code cannot serve; the message says what to run."""


class Database:
    """One ledger. `write()` is a transaction that owns the write lock from its start; `read()` never waits for one."""

    def __init__(self, engine: Engine, reader: Engine) -> None:
        self._engine = engine
        self._reader = reader

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction; commits at the end, rolls back on an exception."""
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for selects, each of which sees the last committed state."""
        with self._reader.connect() as connection:
            yield connection

    def checkpoint(self) -> None:
        """Bring SQLite's log into the database and empty it: what was deleted would stay in it for a while."""
        if self._reader.dialect.name == "sqlite":
            with self._reader.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close all pooled connections."""
        self._engine.dispose()
        self._reader.dispose()


def _prepare(connection: Any, _record: Any) -> None:
    # SQLAlchemy, not the driver, decides when a transaction begins.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    # FULL: an accepted job must survive a power cut, not only a crash.
    cursor.execute("PRAGMA synchronous=FULL")
    # What is deleted or blanked is overwritten, too: it may have been an address.
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    # A deferred transaction that turns into a write fails at once with "database is locked", whatever the busy timeout.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def open_database(folder: Path) -> Database:
    """Open the ledger in `folder`. Raises LedgerMismatch where this code cannot serve it; makes and changes nothing."""
    file = folder / FILE
    if not file.is_file():
        raise LedgerMismatch(f"there is no ledger {file}: run {MIGRATE}")
    url = URL.create("sqlite", database=str(file))
    engine, reader = create_engine(url, hide_parameters=True), create_engine(url, hide_parameters=True)
    for each in (engine, reader):
        event.listen(each, "connect", _prepare)
    event.listen(engine, "begin", _begin_immediate)
    database = Database(engine, reader)
    try:
        _check(database, file)
    except BaseException:
        database.close()
        raise
    return database


def _check(database: Database, file: Path) -> None:
    """A newer schema is fine as long as its floor is: it has only more than this code knows."""
    with database.read() as connection:
        if not inspect(connection).has_table(VERSION_TABLE):
            raise LedgerMismatch(f"the ledger {file} has no schema yet, this code needs {SCHEMA}: run {MIGRATE}")
        schema = str(connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one_or_none())
        floor = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    if int(SCHEMA) < floor:
        raise LedgerMismatch(
            f"the ledger {file} has schema {schema}, which code of schema {floor:04} and later can serve; this "
            f"code has {SCHEMA}: deploy a newer release, or restore a snapshot of an older schema"
        )
    if schema < SCHEMA:
        raise LedgerMismatch(f"the ledger {file} has schema {schema}, this code needs {SCHEMA}: run {MIGRATE}")
