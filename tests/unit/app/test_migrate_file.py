"""Migrations of a ledger in a file: what only a file can meet."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from app.core.ledger import LedgerMismatch, open_database
from app.core.ledger.home import Failed
from app.core.ledger.migrate import main
from app.core.ledger.revisions import Revisions
from app.core.ledger.tables import SCHEMA
from tests.unit.app.migrations import Upgrade, after
from tests.unit.app.places import REPOSITORY

NEXT = after(SCHEMA)  # of a release to come


@pytest.fixture
def upgrade(tmp_path: Path) -> Upgrade:
    """A ledger of today's schema."""
    made = Upgrade(tmp_path)
    made.run()
    return made


def test_without_a_ledger_or_its_schema_the_command_is_told(upgrade: Upgrade) -> None:
    with pytest.raises(LedgerMismatch, match=r"there is no ledger .*: run `python -m app.core.ledger.migrate`"):
        open_database(upgrade.state / "nowhere")
    assert not (upgrade.state / "nowhere").exists()
    unversioned(upgrade)
    with pytest.raises(LedgerMismatch, match=f"has no schema yet, this code needs {SCHEMA}: run"):
        open_database(upgrade.ledger)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB; mounting it needs root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def unversioned(upgrade: Upgrade) -> None:
    """A ledger as releases from before the versions made it, with a lease."""
    for path in upgrade.ledger.glob("ledger.sqlite*"):
        path.unlink()
    revisions = Revisions()
    engine = create_engine(f"sqlite:///{upgrade.ledger}/ledger.sqlite")
    with engine.begin() as connection:
        revisions.apply(connection, revisions.all[0])
        connection.exec_driver_sql("DROP TABLE alembic_version")
        connection.exec_driver_sql("INSERT INTO leases VALUES ('reaper', 'me', 'boot', 1.0)")
    engine.dispose()


def test_a_ledger_from_before_the_versions_is_adopted(upgrade: Upgrade) -> None:
    unversioned(upgrade)
    upgrade.add()
    assert f"from schema 0001 to {NEXT}" in upgrade.run(SCHEMA)
    assert upgrade.query("SELECT owner FROM leases") == [("me",)]


def test_a_ledger_with_another_layout_is_not_adopted(upgrade: Upgrade) -> None:
    unversioned(upgrade)
    upgrade.query("ALTER TABLE leases ADD COLUMN mine TEXT")
    before = upgrade.layout()
    with pytest.raises(Failed, match=r"not laid out as schema 0001: leases\.mine"):
        upgrade.run()
    assert upgrade.layout() == before


def fill(folder: Path) -> None:
    """Leave no room on the file system."""
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
        while filler.write(b"\0" * 4096):
            pass


@pytest.mark.parametrize("full", ["snapshots", "ledger"])
def test_on_a_full_disk_the_ledger_stays_as_it_was(tiny_disk: Path, tmp_path: Path, full: str) -> None:
    upgrade = Upgrade(tmp_path)
    setattr(upgrade, full, tiny_disk / full)
    getattr(upgrade, full).mkdir()
    upgrade.run()
    upgrade.add()
    before = upgrade.layout()
    fill(tiny_disk)
    with pytest.raises(Failed, match=r"full.*The ledger is as it was"):
        upgrade.run()
    (tiny_disk / "filler").unlink()
    assert upgrade.layout() == before
    assert not [path for path in upgrade.snapshots.glob("*") if path.suffix != ".sqlite"]
    upgrade.run()
    assert upgrade.schema() == NEXT


def test_a_ledger_that_stays_locked_is_left_alone(upgrade: Upgrade) -> None:
    upgrade.add()
    with closing(sqlite3.connect(upgrade.ledger / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Failed, match=r"kept the ledger locked for 0\.3 s"):
            upgrade.run(busy=0.3)
        other.execute("ROLLBACK")
    assert upgrade.schema() == SCHEMA


@pytest.mark.parametrize("damage", ["all", "page"])
def test_a_damaged_ledger_is_told(upgrade: Upgrade, damage: str) -> None:
    upgrade.add()
    upgrade.query("PRAGMA wal_checkpoint(TRUNCATE)")
    file = upgrade.ledger / "ledger.sqlite"
    content = file.read_bytes()
    broken = b"x" * len(content) if damage == "all" else content[:8192] + b"\xff" * 4096 + content[12288:]
    file.write_bytes(broken)
    with pytest.raises(Failed, match="damaged"):
        upgrade.run()
    assert file.read_bytes() == broken


# All wait for the same instant, so that their first transactions meet.
OPENER = """
import sys, time
from pathlib import Path
from app.core.ledger import open_database
from app.core.ledger.migrate import Migration, migrate
folders, instant = sys.argv[2:], float(sys.argv[1])
for number, folder in enumerate(folders):
    time.sleep(max(0, instant + number * 0.05 - time.time()))
    migrate(Migration(Path(folder), Path(folder) / "snapshots"))
    open_database(Path(folder)).close()
"""


def test_processes_that_open_a_new_ledger_at_the_same_moment_all_can(tmp_path: Path) -> None:
    folders = [str(tmp_path / str(number)) for number in range(40)]
    command = [sys.executable, "-c", OPENER, str(time.time() + 2), *folders]
    opening = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY) for _ in range(4)]
    assert [process.communicate()[1] for process in opening] == [""] * 4


def test_the_program_s_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment = {"FARRIER_STATE": str(tmp_path)}
    assert main([], {}) == 1
    assert main(["--check-only"], environment) == 0
    assert main(["--kept", ""], environment) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"the ledger is made with schema {SCHEMA}"
    (tmp_path / "ledger/ledger.sqlite").write_bytes(b"x" * 9000)
    assert main(["--kept", "0001,0002", "--snapshot-dir", str(tmp_path / "s")], environment) == 1
    assert "failed: file is not a database" in capsys.readouterr().err


def test_a_ledger_at_the_head_is_left_alone(upgrade: Upgrade) -> None:
    before = (upgrade.ledger / "ledger.sqlite").read_bytes()
    assert "nothing to do" in upgrade.run()
    assert (upgrade.ledger / "ledger.sqlite").read_bytes() == before
    assert upgrade.query("PRAGMA journal_mode") == [("wal",)]
    assert not upgrade.snapshots.exists()


def test_an_expanding_migration_is_done_with_a_snapshot_of_before(upgrade: Upgrade) -> None:
    upgrade.add()
    said = upgrade.run(SCHEMA)
    (kept,) = upgrade.snapshots.iterdir()
    assert str(kept) in said
    assert (upgrade.schema(), upgrade.schema(kept)) == (NEXT, SCHEMA)
    assert kept.name.endswith(f"-{SCHEMA}.sqlite")
    assert kept.stat().st_mode & 0o077 == 0


def test_the_last_three_snapshots_are_kept(upgrade: Upgrade) -> None:
    for number in range(5):
        upgrade.add(f'op.add_column("jobs", sa.Column("note{number}", sa.Text))')
        upgrade.run()
    kept = [name.partition(".")[2].split("-")[1][:4] for name in upgrade.kept()]
    assert kept == [after(SCHEMA, number) for number in (2, 3, 4)]
