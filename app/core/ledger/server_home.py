"""The migration of a ledger on a server: tried in a transaction that is rolled back, and pg_dump keeps a copy."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, text
from sqlalchemy.pool import NullPool

from app.core.disk import sync
from app.core.ledger import snapshot
from app.core.ledger.home import Failed, Refused
from app.core.ledger.layout import Layout
from app.core.ledger.place import shown
from app.core.ledger.postgres import server_engine, without_password
from app.core.ledger.revisions import Revision, Revisions

SUFFIX = ".pgdump"
LOCK = 0x6661727269657201  # of the migration, among the database's advisory locks
PG_DUMP = "pg_dump"


class ServerHome:
    """A ledger in a database of its own, with copies in `snapshots`; `busy`: seconds to wait for whoever uses it."""

    def __init__(self, url: URL, snapshots: Path, busy: float) -> None:
        self._url, self._snapshots, self._busy = url, snapshots, busy
        self.name = shown(url)

    def is_missing(self) -> bool:
        """Never: the server's administrator made the database."""
        return False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One migration at a time, from whichever host."""
        engine = server_engine(self._url, lock=0, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:  # its end gives the lock back
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
            yield

    def clean(self) -> None:
        """Remove half copies."""
        for left in self._snapshots.glob(f"*{SUFFIX}{snapshot.PARTIAL}"):
            left.unlink()

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """Connections that give up when somebody holds a table for too long."""
        engine = server_engine(self._url, lock=self._busy, poolclass=NullPool)
        try:
            yield engine
        finally:
            engine.dispose()

    def adopts(self, layout: Layout, revisions: Revisions) -> Revision:
        """No ledger on a server is from before the versions."""
        del revisions
        raise Failed(f"{self.name} holds {', '.join(sorted(layout))} and no ledger: give it a database of its own")

    @contextmanager
    def trial(self, engine: Engine, label: str) -> Iterator[Connection]:
        """A transaction that is never committed: PostgreSQL takes changes of tables back too."""
        del label
        with engine.connect() as connection:
            try:
                yield connection
            finally:
                connection.rollback()

    def keep(self, label: str) -> Path:
        """Copy the ledger with pg_dump; raises Refused where that is not installed."""
        program = shutil.which(PG_DUMP)
        if program is None:
            raise Refused(
                f"{PG_DUMP} is not installed, which copies the ledger before its tables are changed: "
                "apt-get install postgresql-client, of the server's version or newer"
            )
        kept = self._snapshots / f"{label}{SUFFIX}"
        partial = kept.with_name(kept.name + snapshot.PARTIAL)
        snapshot.begin(partial)
        try:
            self._dump(program, partial)
            sync(partial)
            partial.replace(kept)
            sync(kept.parent)
        finally:
            partial.unlink(missing_ok=True)
        return kept

    def _dump(self, program: str, target: Path) -> None:
        with tempfile.NamedTemporaryFile("w", prefix="farrier-") as passwords:
            # The environment and the command line of a process can be seen by others.
            passwords.write(f"*:*:*:*:{_escaped(str(self._url.password or ''))}\n")
            passwords.flush()
            command = [
                program,
                "--format=custom",
                "--no-owner",
                f"--file={target}",
                f"--dbname={without_password(self._url)}",
            ]
            environment = os.environ | {"PGPASSFILE": passwords.name, "PGCONNECT_TIMEOUT": "5"}
            done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"the ledger could not be copied: {done.stderr.strip()}; nothing was changed")

    def prune(self) -> None:
        """Keep the last copies."""
        snapshot.prune(self._snapshots, SUFFIX)

    def explain(self, said: str) -> str | None:
        """What the server and the file system say when something of theirs is wrong."""
        if "lock timeout" in said:
            return (
                f"another process used the ledger for {self._busy:g} s without end; find it with "
                "`SELECT * FROM pg_stat_activity WHERE state = 'idle in transaction'`"
            )
        if "No space left" in said:
            return f"the disk of {self._snapshots} or of the server is full; make room there"
        if "connection failed" in said or "connection to server" in said:
            return f"see whether the server runs and knows the user and the password (credential): {self.name}"
        return None


def _escaped(password: str) -> str:
    return password.replace("\\", "\\\\").replace(":", "\\:")
