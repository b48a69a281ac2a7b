"""Connections to a ledger in a file: SQLite in WAL mode, every write in BEGIN IMMEDIATE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import Pool

BUSY_SECONDS = 5.0
FILE = "ledger.sqlite"
LOCK = "layout.lock"


def file_engine(
    file: Path | None, *, busy: float = BUSY_SECONDS, writes: bool = True, pool: type[Pool] | None = None
) -> Engine:
    """Connections to a database file, or to one in memory; for one that writes, every transaction owns the lock."""
    engine = create_engine(
        URL.create("sqlite", database=str(file) if file else None), poolclass=pool, hide_parameters=True
    )

    def prepare(connection: Any, _record: Any) -> None:
        # SQLAlchemy, not the driver, decides when a transaction begins.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={int(busy * 1000)}")
        # FULL: an accepted job must survive a power cut, not only a crash.
        connection.execute("PRAGMA synchronous=FULL")
        # What is deleted or blanked is overwritten, too: it may have been somebody's address.
        connection.execute("PRAGMA secure_delete=ON")

    event.listen(engine, "connect", prepare)
    if writes:
        event.listen(engine, "begin", _begin_immediate)
    return engine


def _begin_immediate(connection: Connection) -> None:
    # A deferred transaction that turns into a write fails at once with "database is locked", whatever the busy timeout.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
