"""The migration of a ledger in a file: tried on a copy, and another copy is kept."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.pool import NullPool

from app.core.ledger import snapshot
from app.core.ledger.home import Failed
from app.core.ledger.layout import Layout, differences, layout_of
from app.core.ledger.revisions import Revision, Revisions
from app.core.ledger.sqlite import FILE, LOCK, file_engine

REHEARSAL = ".rehearsal"
SUFFIX = ".sqlite"


class FileHome:
    """A ledger in `folder`, with its copies in `snapshots`; `busy`: seconds to wait for whoever writes into it."""

    def __init__(self, folder: Path, snapshots: Path, busy: float) -> None:
        self._folder, self._snapshots, self._busy = folder, snapshots, busy
        self._file = folder / FILE
        self.name = str(self._file)

    def is_missing(self) -> bool:
        """Whether there is no file."""
        return not self._file.exists()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One migration at a time, and none while a release from before the versions lays out its tables."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def clean(self) -> None:
        """Remove half copies."""
        for suffix in (REHEARSAL, snapshot.PARTIAL):
            for left in self._snapshots.glob(f"*{suffix}"):
                snapshot.forget(left)

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """Connections that own the write lock in every transaction."""
        with self._opened(self._file) as engine:
            _keep_wal(engine)
            yield engine

    @contextmanager
    def _opened(self, file: Path | None) -> Iterator[Engine]:
        # An in-memory database lives with its connection, which the pool of the default keeps.
        engine = file_engine(file, busy=self._busy, pool=NullPool if file else None)
        try:
            yield engine
        finally:
            engine.dispose()

    def adopts(self, layout: Layout, revisions: Revisions) -> Revision:
        """A ledger from before the versions is the first one's."""
        first = revisions.all[0]
        with self._opened(None) as engine, engine.begin() as connection:
            revisions.apply(connection, first)
            differs = differences(layout, layout_of(connection))
        if differs:
            raise Failed(
                f"{self._file} says no schema and is not laid out as schema {first.id}: {differs}; "
                f"move the file away, or restore a ledger of this stack"
            )
        return first

    @contextmanager
    def trial(self, engine: Engine, label: str) -> Iterator[Connection]:
        """A transaction in a copy, which is looked at for damage first."""
        del engine
        trial = self._snapshots / f"{label}{SUFFIX}{REHEARSAL}"
        snapshot.copy(self._file, trial)
        try:
            damage = snapshot.problem_of(trial)
            if damage:
                raise Failed(f"{self._file} is damaged ({damage}); restore a snapshot from {self._snapshots}")
            with self._opened(trial) as copy, copy.begin() as connection:
                yield connection
        finally:
            snapshot.forget(trial)

    def keep(self, label: str) -> Path:
        """Copy the ledger by SQLite's own backup."""
        kept = self._snapshots / f"{label}{SUFFIX}"
        snapshot.copy(self._file, kept)
        return kept

    def prune(self) -> None:
        """Keep the last copies."""
        snapshot.prune(self._snapshots, SUFFIX)

    def explain(self, said: str) -> str | None:
        """What SQLite and the file system say when something of theirs is wrong."""
        found = next((explain for word, explain in _SAID.items() if word in said), None)
        return found(self._file, self._snapshots, self._busy) if found else None


def _keep_wal(engine: Engine) -> None:
    """WAL mode, which the file then keeps. The change needs the ledger for itself, so it is made here and once."""
    with closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            cursor.execute("PRAGMA journal_mode=WAL")


_SAID: Mapping[str, Callable[[Path, Path, float], str]] = {
    "locked": lambda file, _, busy: (
        f"another process kept the ledger locked for {busy:g} s; find it with `fuser {file}`"
    ),
    "disk is full": lambda file, snapshots, _: (
        f"the disk is full; a migration needs room for two copies of {file} in {snapshots}"
    ),
    "disk I/O error": lambda file, *_: f"the disk of {file.parent} fails or is full; see `dmesg` and `df`",
    "not a database": lambda file, snapshots, _: f"{file} is damaged; restore a snapshot from {snapshots}",
    "malformed": lambda file, snapshots, _: f"{file} is damaged; restore a snapshot from {snapshots}",
    "No space left": lambda _, snapshots, __: f"the disk of {snapshots} is full; make room there",
}
