"""What the ledger's database means when it refuses to write."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError

_PRIMARY = 0xFF  # the part of SQLite's error code that says the kind
_POSTGRESQL_DISK_FULL = "53100"


def is_full(error: BaseException) -> bool:
    """Whether the disk of the ledger is full: then nobody else can write to it either."""
    if not isinstance(error, DBAPIError):
        return False
    code = getattr(error.orig, "sqlite_errorcode", 0) & _PRIMARY
    return code == sqlite3.SQLITE_FULL or getattr(error.orig, "sqlstate", None) == _POSTGRESQL_DISK_FULL
