"""Migrations of a next release, for tests: the real ones with more behind them."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL
from sqlalchemy.pool import NullPool

from app.core.ledger import Place
from app.core.ledger.layout import Layout, layout_of
from app.core.ledger.migrate import Migration, migrate
from app.core.ledger.postgres import server_engine
from app.core.ledger.revisions import VERSIONS, Revisions
from tests.unit.app.places import REPOSITORY, environment_of

EXPANDING = 'op.add_column("jobs", sa.Column("note", sa.Text))\nop.create_table("notes", sa.Column("a", sa.Text))'
PROGRAM = """
import os, pathlib, sys
from app.core.ledger import place_of
from app.core.ledger.migrate import Migration, migrate
from app.core.ledger.revisions import Revisions
snapshots, versions = map(pathlib.Path, sys.argv[1:])
print(migrate(Migration(place_of(os.environ), snapshots), Revisions(versions)))
"""


def new_ledger(folder: Path) -> Path:
    """A ledger of today's schema in the folder, which it gives back."""
    migrate(Migration(folder, folder.parent / "snapshots"))
    return folder


def after(schema: str, steps: int = 1) -> str:
    """The schema that comes `steps` later."""
    return f"{int(schema) + steps:04}"


def alter(table: str, change: str) -> str:
    """A migration's body that changes a table."""
    return f'with op.batch_alter_table("{table}") as batch:\n    batch.{change}'


class Upgrade:
    """A ledger below `folder` (or on a server) and a folder of migrations that a test adds to."""

    def __init__(self, folder: Path, server: URL | None = None) -> None:
        self.state = folder
        self.ledger = folder / "ledger"
        self.server = server
        self.snapshots = folder / "snapshots"
        self.versions = folder / "versions"
        shutil.copytree(VERSIONS, self.versions, ignore=shutil.ignore_patterns("__pycache__"))

    @property
    def place(self) -> Place:
        """Where the ledger is."""
        return self.ledger if self.server is None else self.server

    def add(self, body: str = EXPANDING, *constants: str, expands: bool = True) -> str:
        """Write the next migration; gives its schema."""
        last = max(path.name[:4] for path in self.versions.glob("*.py"))
        number = after(last)
        lines = [
            "import sqlalchemy as sa",
            "from alembic import op",
            f'revision, down_revision, EXPANDS = "{number}", "{last}", {expands}',
            *constants,
            "def upgrade() -> None:",
            *(f"    {line}" for line in body.splitlines()),
        ]
        (self.versions / f"{number}_more.py").write_text("\n".join(lines) + "\n")
        return number

    def run(self, *kept: str, check_only: bool = False, busy: float = 5.0) -> str:
        """Migrate in this process."""
        asked = Migration(self.place, self.snapshots, kept, check_only, busy)
        return migrate(asked, Revisions(self.versions))

    def start(self) -> subprocess.Popen[str]:
        """Migrate in a process of its own, which prints what it did."""
        command = [sys.executable, "-c", PROGRAM, str(self.snapshots), str(self.versions)]
        there = environment_of(self.place, self.state)
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=there)

    def query(self, statement: str, file: Path | None = None) -> list[tuple[object, ...]]:
        """Ask a database; the ledger, when no other file is named."""
        if self.server is not None and file is None:
            with server_engine(self.server, poolclass=NullPool).connect() as there:
                return [tuple(row) for row in there.exec_driver_sql(statement)]
        with closing(sqlite3.connect(file or self.ledger / "ledger.sqlite")) as connection:
            return list(connection.execute(statement))

    def schema(self, file: Path | None = None) -> str:
        """The schema that a ledger says it has."""
        ((number,),) = self.query("SELECT version_num FROM alembic_version", file)
        return str(number)

    def layout(self) -> list[tuple[object, ...]] | Layout:
        """The ledger's tables and indexes: the statements that made them, or what a server says of them."""
        if self.server is None:
            return self.query("SELECT name, sql FROM sqlite_schema ORDER BY name")
        with server_engine(self.server, poolclass=NullPool).connect() as connection:
            return layout_of(connection)

    def kept(self) -> list[str]:
        """The names of the copies that there are."""
        return sorted(path.name for path in self.snapshots.glob("*"))
