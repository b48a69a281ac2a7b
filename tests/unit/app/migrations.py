"""Migrations of a next release, for tests: the real ones with more behind them."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from app.core.ledger.migrate import Migration, migrate
from app.core.ledger.revisions import VERSIONS, Revisions


def new_ledger(folder: Path) -> Path:
    """A ledger of today's schema in the folder, which it gives back."""
    migrate(Migration(folder, folder.parent / "snapshots"))
    return folder


EXPANDING = 'op.add_column("jobs", sa.Column("note", sa.Text))\nop.create_table("notes", sa.Column("a", sa.Text))'


def after(schema: str, steps: int = 1) -> str:
    """The schema that comes `steps` later."""
    return f"{int(schema) + steps:04}"


class Upgrade:
    """A ledger below `folder` and a folder of migrations that a test adds to."""

    def __init__(self, folder: Path) -> None:
        self.state = folder
        self.ledger = folder / "ledger"
        self.snapshots = folder / "snapshots"
        self.versions = folder / "versions"
        shutil.copytree(VERSIONS, self.versions, ignore=shutil.ignore_patterns("__pycache__"))

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
        asked = Migration(self.ledger, self.snapshots, kept, check_only, busy)
        return migrate(asked, Revisions(self.versions))

    def command(self) -> list[str]:
        """Migrate in a process of its own."""
        program = (
            "import sys, pathlib\n"
            "from app.core.ledger.migrate import Migration, migrate\n"
            "from app.core.ledger.revisions import Revisions\n"
            "ledger, snapshots, versions = map(pathlib.Path, sys.argv[1:])\n"
            "print(migrate(Migration(ledger, snapshots), Revisions(versions)))\n"
        )
        return [sys.executable, "-c", program, str(self.ledger), str(self.snapshots), str(self.versions)]

    def query(self, statement: str, file: Path | None = None) -> list[tuple[object, ...]]:
        """Ask a database; the ledger, when no other is named."""
        with closing(sqlite3.connect(file or self.ledger / "ledger.sqlite")) as connection:
            return list(connection.execute(statement))

    def schema(self, file: Path | None = None) -> str:
        """The schema that a ledger says it has."""
        ((number,),) = self.query("SELECT version_num FROM alembic_version", file)
        return str(number)

    def layout(self) -> list[tuple[object, ...]]:
        """The statements that made the ledger's tables and indexes."""
        return self.query("SELECT name, sql FROM sqlite_schema ORDER BY name")
