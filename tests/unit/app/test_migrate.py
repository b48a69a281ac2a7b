"""The ledger's migrations: whole or not at all, refused when a kept release could not live with them."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time as clock_time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from app.core.ledger import Clock, Job, Jobs, LedgerMismatch, NewJob, open_database
from app.core.ledger.home import Failed, Refused
from app.core.ledger.layout import layout_of
from app.core.ledger.migrate import main
from app.core.ledger.revisions import Revisions
from app.core.ledger.tables import SCHEMA, metadata
from app.core.storage import new_job_id
from tests.unit.app.migrations import Upgrade, after
from tests.unit.app.running_site import REPOSITORY, wait_for

NEXT, THIRD = after(SCHEMA), after(SCHEMA, 2)  # of releases to come


@pytest.fixture
def upgrade(tmp_path: Path) -> Upgrade:
    """A ledger of today's schema."""
    made = Upgrade(tmp_path)
    made.run()
    return made


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB; mounting it needs root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def submit(jobs: Jobs) -> Job:
    return jobs.submit(NewJob(new_job_id(), "knee", "knee", "scan.nii", {"smoothing": 1}))


def test_the_migrations_make_the_tables_that_the_code_knows(upgrade: Upgrade) -> None:
    assert Revisions().head == SCHEMA
    wanted, made = create_engine("sqlite://"), create_engine(f"sqlite:///{upgrade.ledger}/ledger.sqlite")
    with wanted.begin() as here, made.begin() as there:
        metadata.create_all(here)
        assert layout_of(there) == layout_of(here)
    for engine in (wanted, made):
        engine.dispose()


def test_a_ledger_at_the_head_is_left_alone(upgrade: Upgrade) -> None:
    before = (upgrade.ledger / "ledger.sqlite").read_bytes()
    assert "nothing to do" in upgrade.run()
    assert (upgrade.ledger / "ledger.sqlite").read_bytes() == before
    assert upgrade.query("PRAGMA journal_mode") == [("wal",)]
    assert not upgrade.snapshots.exists()


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


def test_an_expanding_migration_is_done_with_a_snapshot_of_before(upgrade: Upgrade) -> None:
    upgrade.add()
    said = upgrade.run(SCHEMA)
    (kept,) = upgrade.snapshots.iterdir()
    assert str(kept) in said
    assert (upgrade.schema(), upgrade.schema(kept)) == (NEXT, SCHEMA)
    assert kept.name.endswith(f"-{SCHEMA}.sqlite")
    assert kept.stat().st_mode & 0o077 == 0


def test_check_only_changes_nothing(upgrade: Upgrade) -> None:
    upgrade.add()
    assert "nothing was changed" in upgrade.run(SCHEMA, check_only=True)
    assert upgrade.schema() == SCHEMA
    assert list(upgrade.snapshots.iterdir()) == []


def test_the_last_three_snapshots_are_kept(upgrade: Upgrade) -> None:
    for number in range(5):
        upgrade.add(f'op.add_column("jobs", sa.Column("note{number}", sa.Text))')
        upgrade.run()
    assert [path.name[-11:-7] for path in sorted(upgrade.snapshots.iterdir())] == [
        after(SCHEMA, number) for number in (2, 3, 4)
    ]


def alter(table: str, change: str) -> str:
    return f'with op.batch_alter_table("{table}") as batch:\n    batch.{change}'


CONTRACTIONS = [
    ('op.drop_table("workers")', "table workers is dropped or renamed"),
    ('op.rename_table("workers", "hands")', "table workers is dropped or renamed"),
    ('op.drop_column("jobs", "step_name")', "jobs.step_name is dropped or renamed"),
    (alter("jobs", 'alter_column("owner", new_column_name="who")'), "jobs.owner is dropped or renamed"),
    (alter("jobs", 'alter_column("owner", type_=sa.Integer)'), "jobs.owner changes its type"),
    (alter("jobs", 'alter_column("owner", nullable=False)'), "jobs.owner becomes NOT NULL"),
    (alter("jobs", 'add_column(sa.Column("x", sa.Text, nullable=False))'), "jobs.x is new, NOT NULL"),
    (alter("jobs", 'create_unique_constraint("u", ["owner"])'), "jobs gets a unique constraint on owner"),
    ('op.create_index("u", "jobs", ["owner"], unique=True)', "jobs gets a unique index on owner"),
    (alter("jobs", 'create_check_constraint("c", sa.text("step < 9"))'), "jobs gets a CHECK (step < 9)"),
]


@pytest.mark.parametrize(("body", "told"), CONTRACTIONS, ids=[told for _, told in CONTRACTIONS])
@pytest.mark.parametrize("expands", [True, False])
def test_what_a_kept_release_could_not_live_with_is_refused(
    upgrade: Upgrade, body: str, told: str, *, expands: bool
) -> None:
    upgrade.add(body, expands=expands)
    before = upgrade.layout()
    with pytest.raises(Refused) as refused:
        upgrade.run(SCHEMA)
    for words in (told, f"{NEXT}_more.py", f"schema {SCHEMA}"):
        assert words in str(refused.value)
    assert upgrade.layout() == before
    assert list(upgrade.snapshots.iterdir()) == []


@pytest.mark.parametrize(
    "body",
    [
        alter("jobs", 'add_column(sa.Column("x", sa.Text, nullable=False, server_default=""))'),
        'op.create_table("more", sa.Column("a", sa.Text, nullable=False, unique=True))',
        'op.create_index("i", "jobs", ["owner"])',
        alter("jobs", 'alter_column("queue", nullable=True)'),
    ],
)
def test_what_a_kept_release_does_not_notice_is_done(upgrade: Upgrade, body: str) -> None:
    upgrade.add(body)
    upgrade.run(SCHEMA)
    assert upgrade.schema() == NEXT


def test_a_contraction_is_done_once_no_release_below_its_floor_is_kept(upgrade: Upgrade) -> None:
    upgrade.add()
    upgrade.run(SCHEMA)
    upgrade.add('op.drop_table("notes")', f'FLOOR = "{NEXT}"', expands=False)
    with pytest.raises(Refused, match=f"releases of schema {SCHEMA} are kept"):
        upgrade.run(SCHEMA, NEXT)
    upgrade.run(NEXT)
    assert upgrade.schema() == THIRD


def test_a_contraction_that_says_it_expands_is_refused_even_with_nothing_kept(upgrade: Upgrade) -> None:
    upgrade.add('op.drop_table("workers")')
    with pytest.raises(Refused, match="EXPANDS = False"):
        upgrade.run()
    assert upgrade.schema() == SCHEMA


def test_a_migration_that_fails_leaves_the_ledger_as_it_was(upgrade: Upgrade) -> None:
    upgrade.add()
    upgrade.add('op.execute("INSERT INTO nowhere VALUES (1)")')
    before = upgrade.layout()
    with pytest.raises(Failed, match=rf"{THIRD}_more\.py failed: no such table: nowhere"):
        upgrade.run()
    assert upgrade.layout() == before


def test_older_code_finds_a_newer_ledger_that_it_can_serve_or_is_told_why_not(upgrade: Upgrade) -> None:
    old = Upgrade(upgrade.state / "old")
    old.ledger = upgrade.ledger
    upgrade.add()
    upgrade.run()
    assert f"newer than this code's {SCHEMA}" in old.run()
    upgrade.add('op.drop_table("notes")', expands=False)
    upgrade.run()
    with pytest.raises(Refused, match=f"code of schema {THIRD} and later can serve; this code has {SCHEMA}"):
        old.run()


def test_code_serves_no_ledger_that_it_does_not_know(upgrade: Upgrade, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LedgerMismatch, match=r"there is no ledger .*: run `python -m app.core.ledger.migrate`"):
        open_database(upgrade.state / "nowhere")
    assert not (upgrade.state / "nowhere").exists()
    monkeypatch.setattr("app.core.ledger.database.SCHEMA", NEXT)
    with pytest.raises(LedgerMismatch, match=f"has schema {SCHEMA}, this code needs {NEXT}: run"):
        open_database(upgrade.ledger)
    monkeypatch.undo()
    upgrade.add('op.drop_table("workers")', expands=False)
    upgrade.run()
    with pytest.raises(LedgerMismatch, match=f"has schema {NEXT}, which code of schema {NEXT} and later can serve"):
        open_database(upgrade.ledger)
    unversioned(upgrade)
    with pytest.raises(LedgerMismatch, match=f"has no schema yet, this code needs {SCHEMA}: run"):
        open_database(upgrade.ledger)


def test_several_at_once_migrate_once(upgrade: Upgrade) -> None:
    upgrade.add()
    pipe = subprocess.PIPE
    started = [subprocess.Popen(upgrade.command(), stdout=pipe, text=True, cwd=REPOSITORY) for _ in range(5)]
    said = [process.communicate()[0] for process in started]
    assert sorted("nothing to do" in line for line in said) == [False, True, True, True, True]
    assert len(list(upgrade.snapshots.iterdir())) == 1


@pytest.mark.parametrize("where", ["rehearsal", "real"])
def test_killed_in_the_middle_the_ledger_is_as_it_was_and_the_next_run_migrates(upgrade: Upgrade, where: str) -> None:
    marker = upgrade.state / "reached"
    upgrade.add(
        'op.add_column("jobs", sa.Column("note", sa.Text))\n'
        "import pathlib, time\n"
        'file = op.get_bind().exec_driver_sql("PRAGMA database_list").first()[2]\n'
        f"real = file.endswith('/ledger.sqlite')\n"
        f"if real == {where == 'real'}:\n"
        f"    pathlib.Path({str(marker)!r}).touch()\n"
        "    time.sleep(60)"
    )
    before = upgrade.layout()
    process = subprocess.Popen(upgrade.command(), cwd=REPOSITORY)
    wait_for(marker.exists, "the migration's middle")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert upgrade.layout() == before
    assert upgrade.schema() == SCHEMA
    file = upgrade.versions / f"{NEXT}_more.py"
    file.write_text(file.read_text().replace("time.sleep(60)", "pass"))
    upgrade.run(SCHEMA)
    assert upgrade.schema() == NEXT
    assert {path.suffix for path in upgrade.snapshots.iterdir()} == {".sqlite"}


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
        began = clock_time.monotonic()
        with pytest.raises(Failed, match=r"kept the ledger locked for 0\.3 s"):
            upgrade.run(busy=0.3)
        assert clock_time.monotonic() - began < 5
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


def test_twenty_queued_and_three_running_jobs_survive_up_and_back(upgrade: Upgrade, clock: Clock) -> None:
    """What was opened before goes on, and so does this code when it is started again on the next one's schema."""
    serving = open_database(upgrade.ledger)
    before = Jobs(serving, clock)
    submitted = [submit(before) for _ in range(23)]
    running = [before.claim_next(["knee"], f"w{number}", 30) for number in range(3)]
    upgrade.add()
    upgrade.add(alter("jobs", 'add_column(sa.Column("weight", sa.Integer, nullable=False, server_default="1"))'))
    upgrade.run(SCHEMA)
    assert [before.find(job.id) for job in running if job] == running
    assert running[0] is not None
    assert before.publish(running[0], size=1, summary={})
    back = open_database(upgrade.ledger)
    after = Jobs(back, clock)
    assert [job.id for job in after.running()] == [job.id for job in submitted[1:3]]
    assert [after.position(job) for job in submitted[3:]] == list(range(1, 21))
    assert all(after.renew(job, 30) and after.publish(job, size=1, summary={}) for job in running[1:] if job)
    late = submit(after)
    ended = []
    while job := after.claim_next(["knee"], "w", 30):
        ended.append(job.id)
        assert after.fail(job, code="X", message="x")
    assert ended == [job.id for job in (*submitted[3:], late)]
    for opened in (serving, back):
        opened.close()


def test_the_program_s_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment = {"FARRIER_STATE": str(tmp_path)}
    assert main([], {}) == 1
    assert main(["--check-only"], environment) == 0
    assert main(["--kept", ""], environment) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"the ledger is made with schema {SCHEMA}"
    (tmp_path / "ledger/ledger.sqlite").write_bytes(b"x" * 9000)
    assert main(["--kept", "0001,0002", "--snapshot-dir", str(tmp_path / "s")], environment) == 1
    assert "failed: file is not a database" in capsys.readouterr().err
