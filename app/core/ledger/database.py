"""Connections to the ledger's database: SQLite in WAL mode, every write in BEGIN IMMEDIATE."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

from app.core.ledger.tables import metadata

BUSY_TIMEOUT_MS = 5000
FILE = "ledger.sqlite"
LOCK = "layout.lock"


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
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    # A deferred transaction that turns into a write fails at once with "database is locked", whatever the busy timeout.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def open_database(folder: Path) -> Database:
    """Open the ledger in `folder`, made where missing together with its tables."""
    folder.mkdir(parents=True, exist_ok=True)
    url = URL.create("sqlite", database=str(folder / FILE))
    engine, reader = create_engine(url), create_engine(url)
    for each in (engine, reader):
        event.listen(each, "connect", _prepare)
    event.listen(engine, "begin", _begin_immediate)
    _lay_out(engine, folder)
    return Database(engine, reader)


def _lay_out(engine: Engine, folder: Path) -> None:
    """Make the tables, one process at a time.

    The change to WAL, which the file then keeps, needs the database for itself, and fails at once where another process
    has it open: no busy timeout helps.
    """
    with (folder / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with closing(engine.raw_connection()) as connection:
            connection.cursor().execute("PRAGMA journal_mode=WAL")
        with engine.begin() as connection:
            metadata.create_all(connection)
