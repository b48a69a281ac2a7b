"""Migrations of a ledger on a PostgreSQL server: what only a server can meet."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import psycopg
import pytest

from app.core.ledger import Jobs, LedgerMismatch, NewJob, clock_of, open_database
from app.core.ledger.home import Failed, Refused
from app.core.ledger.migrate import main
from app.core.ledger.postgres import server_url
from app.core.ledger.tables import SCHEMA
from app.core.storage import new_job_id
from tests.unit.app.migrations import Upgrade, after
from tests.unit.app.places import environment_of
from tests.unit.app.postgres import PASSWORD, Server

NEXT = after(SCHEMA)  # of a release to come


@pytest.fixture
def upgrade(tmp_path: Path, postgres: Server) -> Upgrade:
    """A ledger of today's schema in a database of its own."""
    made = Upgrade(tmp_path, postgres.new_database())
    made.run()
    return made


def test_the_snapshot_of_before_can_be_restored(upgrade: Upgrade, postgres: Server) -> None:
    database = open_database(upgrade.place)
    job = Jobs(database, clock_of(upgrade.place)).submit(NewJob(new_job_id(), "knee", "knee", "scan.nii", {}))
    database.close()
    upgrade.add()
    said = upgrade.run(SCHEMA)
    (kept,) = upgrade.snapshots.iterdir()
    assert str(kept) in said
    assert (upgrade.schema(), kept.name[-11:], kept.stat().st_mode & 0o077) == (NEXT, f"{SCHEMA}.pgdump", 0)
    restored = Upgrade(upgrade.state / "restored", postgres.new_database())
    assert restored.server is not None
    command = ["pg_restore", f"--dbname={postgres.address(str(restored.server.database))}", str(kept)]
    subprocess.run(command, check=True, env=os.environ | {"PGPASSWORD": PASSWORD})
    assert (restored.schema(), restored.query("SELECT id FROM jobs")) == (SCHEMA, [(job.id,)])
    assert "nothing to do" in Upgrade(restored.state / "again", restored.server).run(), "its floor is there too"


def test_without_pg_dump_nothing_is_changed(upgrade: Upgrade, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade.add()
    monkeypatch.setenv("PATH", str(upgrade.state))
    with pytest.raises(Refused, match="apt-get install postgresql-client"):
        upgrade.run(SCHEMA)
    assert (upgrade.schema(), upgrade.kept()) == (SCHEMA, [])


def test_a_ledger_that_stays_locked_is_left_alone(upgrade: Upgrade, postgres: Server) -> None:
    upgrade.add()
    assert upgrade.server is not None
    with psycopg.connect(postgres.login(str(upgrade.server.database))) as other:
        other.execute("LOCK TABLE jobs")
        with pytest.raises(Failed, match=r"used the ledger for 0\.3 s.*pg_stat_activity.*The ledger is as it was"):
            upgrade.run(busy=0.3)
    assert upgrade.schema() == SCHEMA


def test_other_tables_are_no_ledger(tmp_path: Path, postgres: Server) -> None:
    other = Upgrade(tmp_path, postgres.new_database())
    assert other.server is not None
    postgres.execute("CREATE TABLE mine (a text)", str(other.server.database))
    with pytest.raises(LedgerMismatch, match="has no schema yet"):
        open_database(other.place)
    with pytest.raises(Failed, match="holds mine and no ledger: give it a database of its own"):
        other.run()


@pytest.mark.parametrize(
    ("database", "password", "told"), [("nowhere", PASSWORD, "does not exist"), ("postgres", "wrong", "authentication")]
)
def test_what_keeps_it_from_the_server_is_told_without_the_password(
    tmp_path: Path, postgres: Server, capsys: pytest.CaptureFixture[str], database: str, password: str, told: str
) -> None:
    place = server_url(postgres.address(database), password)
    assert main([], environment_of(place, tmp_path)) == 1
    said = capsys.readouterr().err
    assert told in said
    assert "see whether the server runs and knows the user" in said
    assert password not in said


def test_an_address_with_a_password_is_refused_and_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    environment = {"FARRIER_STATE": "/nowhere", "FARRIER_LEDGER_URL": "postgresql://me:secret@db/knee"}
    assert main([], environment) == 1
    said = capsys.readouterr().err
    assert "put it in ledger-password" in said
    assert "secret" not in said
