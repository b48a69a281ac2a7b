"""The ledger's database, opened: a file on this host, or a PostgreSQL server. What it holds is the same in both."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import OperationalError

from app.core.ledger.clock import Clock, boot_clock
from app.core.ledger.floor import floor_of, schema_of
from app.core.ledger.place import Place, shown
from app.core.ledger.postgres import server_clock, server_engine
from app.core.ledger.sqlite import FILE, file_engine
from app.core.ledger.tables import SCHEMA

log = logging.getLogger(__name__)
MIGRATE = "`python -m app.core.ledger.migrate` with this release's environment, which a deploy does by itself"


class LedgerMismatch(ValueError):
    """The ledger is not there, or has a schema that this code cannot serve; the message says what to run."""


class Database:
    """One ledger. In a file, `write()` owns the write lock from its start; `read()` never waits for a lock."""

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


def open_database(place: Place) -> Database:
    """Open the ledger. Raises LedgerMismatch where this code cannot serve it; makes and changes nothing."""
    return _open_file(place / FILE) if isinstance(place, Path) else _open_server(place)


def clock_of(place: Place, boot_id: str | None = None) -> Clock:
    """The clock on which all who share the ledger agree."""
    return boot_clock(boot_id) if isinstance(place, Path) else server_clock(place)


def _open_file(file: Path) -> Database:
    if not file.is_file():
        raise LedgerMismatch(f"there is no ledger {file}: run {MIGRATE}")
    return _checked(Database(file_engine(file), file_engine(file, writes=False)), str(file))


def _open_server(url: URL) -> Database:
    engine = server_engine(url)
    database = Database(engine, engine.execution_options(isolation_level="AUTOCOMMIT"))
    where = shown(url)
    try:
        return _checked(database, where)
    except OperationalError as error:
        # No service may fail for good because another one comes up later; /health/ready tells it.
        log.warning("the ledger %s does not answer yet, so its schema is not checked: %s", where, error.orig)
        return database


def _checked(database: Database, where: str) -> Database:
    try:
        with database.read() as connection:
            schema = schema_of(connection)
            _check(where, schema, floor_of(connection) if schema else 0)
    except BaseException:
        database.close()
        raise
    return database


def _check(where: str, schema: str | None, floor: int) -> None:
    """A newer schema is fine as long as its floor is: it has only more than this code knows."""
    if schema is None:
        raise LedgerMismatch(f"the ledger {where} has no schema yet, this code needs {SCHEMA}: run {MIGRATE}")
    if int(SCHEMA) < floor:
        raise LedgerMismatch(
            f"the ledger {where} has schema {schema}, which code of schema {floor:04} and later can serve; this "
            f"code has {SCHEMA}: deploy a newer release, or restore a snapshot of an older schema"
        )
    if schema < SCHEMA:
        raise LedgerMismatch(f"the ledger {where} has schema {schema}, this code needs {SCHEMA}: run {MIGRATE}")
