"""Copies of a ledger that is in use: SQLite's own backup, whole or not there at all."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from app.core.disk import sync

KEPT = 3
PARTIAL = ".partial"


def copy(ledger: Path, target: Path) -> None:
    """Copy the ledger as it is at this moment. Raises sqlite3.Error and OSError, and leaves no half copy then."""
    partial = target.with_name(target.name + PARTIAL)
    try:
        begin(partial)
        with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(partial)) as sink:
            source.backup(sink)
            # A copy of a ledger in WAL mode would otherwise have files beside it once it is opened.
            sink.execute("PRAGMA journal_mode=DELETE")
        sync(partial)
        partial.replace(target)
        sync(target.parent)
    finally:
        forget(partial)


def begin(partial: Path) -> None:
    """Make the empty file that a copy is written into. Raises OSError."""
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.unlink(missing_ok=True)
    # Users' file names stand in it: for the stack alone, from the first byte on.
    os.close(os.open(partial, os.O_CREAT | os.O_WRONLY, 0o600))


def problem_of(ledger: Path) -> str | None:
    """What SQLite finds damaged in a copy, or None."""
    with closing(sqlite3.connect(ledger)) as connection:
        said = [str(row[0]) for row in connection.execute("PRAGMA quick_check(1)")]
    return None if said == ["ok"] else said[0]


def forget(ledger: Path) -> None:
    """Remove a copy and what SQLite keeps beside it."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        ledger.with_name(ledger.name + suffix).unlink(missing_ok=True)


def prune(folder: Path, suffix: str, kept: int = KEPT) -> None:
    """Keep the newest snapshots: their names begin with the time."""
    for old in sorted(folder.glob(f"*{suffix}"))[:-kept]:
        forget(old)
