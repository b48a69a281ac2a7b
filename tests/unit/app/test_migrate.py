"""The ledger's migrations: whole or not at all, refused when a kept release could not live with them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from app.core.ledger import Clock, Job, Jobs, LedgerMismatch, NewJob, open_database
from app.core.ledger.home import Failed, Refused
from app.core.ledger.layout import layout_of
from app.core.ledger.revisions import Revisions
from app.core.ledger.tables import SCHEMA, metadata
from app.core.storage import new_job_id
from tests.unit.app.migrations import Upgrade, after, alter
from tests.unit.app.postgres import Server
from tests.unit.app.running_site import wait_for

NEXT, THIRD = after(SCHEMA), after(SCHEMA, 2)  # of releases to come


@pytest.fixture(params=["file", "server"])
def upgrade(request: pytest.FixtureRequest, tmp_path: Path) -> Upgrade:
    """A ledger of today's schema."""
    server: Server | None = request.getfixturevalue("postgres") if request.param == "server" else None
    made = Upgrade(tmp_path, server.new_schema() if server else None)
    made.run()
    return made


def submit(jobs: Jobs) -> Job:
    return jobs.submit(NewJob(new_job_id(), "knee", "knee", "scan.nii", {"smoothing": 1}))


def test_the_migrations_make_the_tables_that_the_code_knows(upgrade: Upgrade) -> None:
    assert Revisions().head == SCHEMA
    database = open_database(upgrade.place)
    with database.write() as connection:
        migrated = layout_of(connection)
        connection.exec_driver_sql("DROP TABLE alembic_version")
        metadata.drop_all(connection)
        assert not layout_of(connection)
        metadata.create_all(connection)
        assert layout_of(connection) == migrated
    database.close()


def test_a_ledger_at_the_head_needs_nothing(upgrade: Upgrade) -> None:
    before = upgrade.layout()
    assert "nothing to do" in upgrade.run()
    assert (upgrade.layout(), upgrade.kept()) == (before, [])


def test_check_only_changes_nothing(upgrade: Upgrade) -> None:
    upgrade.add()
    assert "nothing was changed" in upgrade.run(SCHEMA, check_only=True)
    assert upgrade.schema() == SCHEMA
    assert upgrade.kept() == []


CONTRACTIONS = [
    ('op.drop_table("workers")', "table workers is dropped or renamed"),
    ('op.rename_table("workers", "hands")', "table workers is dropped or renamed"),
    ('op.drop_column("jobs", "step_name")', "jobs.step_name is dropped or renamed"),
    (alter("jobs", 'alter_column("owner", new_column_name="who")'), "jobs.owner is dropped or renamed"),
    (alter("jobs", 'alter_column("owner", type_=sa.Text)'), "jobs.owner changes its type"),
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
    assert upgrade.kept() == []


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
    with pytest.raises(Failed, match=rf"{THIRD}_more\.py failed: .*nowhere"):
        upgrade.run()
    assert upgrade.layout() == before


def test_older_code_finds_a_newer_ledger_that_it_can_serve_or_is_told_why_not(upgrade: Upgrade) -> None:
    old = Upgrade(upgrade.state / "old", upgrade.server)
    old.ledger = upgrade.ledger
    upgrade.add()
    upgrade.run()
    assert f"newer than this code's {SCHEMA}" in old.run()
    upgrade.add('op.drop_table("notes")', expands=False)
    upgrade.run()
    with pytest.raises(Refused, match=f"code of schema {THIRD} and later can serve; this code has {SCHEMA}"):
        old.run()


def test_code_serves_no_ledger_that_it_does_not_know(upgrade: Upgrade, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.core.ledger.database.SCHEMA", NEXT)
    with pytest.raises(LedgerMismatch, match=f"has schema {SCHEMA}, this code needs {NEXT}: run"):
        open_database(upgrade.place)
    monkeypatch.undo()
    upgrade.add('op.drop_table("workers")', expands=False)
    upgrade.run()
    with pytest.raises(LedgerMismatch, match=f"has schema {NEXT}, which code of schema {NEXT} and later can serve"):
        open_database(upgrade.place)


def test_several_at_once_migrate_once(upgrade: Upgrade) -> None:
    upgrade.add()
    started = [upgrade.start() for _ in range(3)]
    said = [process.communicate()[0] for process in started]
    assert sorted("nothing to do" in line for line in said) == [False, True, True]
    assert len(upgrade.kept()) == 1


@pytest.mark.parametrize("turn", [1, 2], ids=["rehearsal", "real"])
def test_killed_in_the_middle_the_ledger_is_as_it_was_and_the_next_run_migrates(upgrade: Upgrade, turn: int) -> None:
    turns = upgrade.state / "turns"
    upgrade.add(
        'op.add_column("jobs", sa.Column("note", sa.Text))\n'
        "import pathlib, time\n"
        f"turns = pathlib.Path({str(turns)!r})\n"
        "turns.write_text(turns.read_text() + 'x' if turns.exists() else 'x')\n"
        f"if len(turns.read_text()) == {turn}:\n"
        "    time.sleep(60)"
    )
    before = upgrade.layout()
    process = upgrade.start()
    wait_for(lambda: turns.exists() and len(turns.read_text()) == turn, "the migration's middle")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert upgrade.layout() == before
    assert upgrade.schema() == SCHEMA
    file = upgrade.versions / f"{NEXT}_more.py"
    file.write_text(file.read_text().replace("time.sleep(60)", "pass"))
    upgrade.run(SCHEMA)
    assert upgrade.schema() == NEXT
    assert {name.rpartition(".")[2] for name in upgrade.kept()} <= {"sqlite", "pgdump"}


def test_twenty_queued_and_three_running_jobs_survive_up_and_back(upgrade: Upgrade, clock: Clock) -> None:
    """What was opened before goes on, and so does this code when it is started again on the next one's schema."""
    serving = open_database(upgrade.place)
    before = Jobs(serving, clock)
    submitted = [submit(before) for _ in range(23)]
    running = [before.claim_next(["knee"], f"w{number}", 30) for number in range(3)]
    upgrade.add()
    upgrade.add(alter("jobs", 'add_column(sa.Column("weight", sa.Integer, nullable=False, server_default="1"))'))
    upgrade.run(SCHEMA)
    assert [before.find(job.id) for job in running if job] == running
    assert running[0] is not None
    assert before.publish(running[0], size=1, summary={})
    back = open_database(upgrade.place)
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
