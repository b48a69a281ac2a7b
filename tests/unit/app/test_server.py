"""A ledger on a PostgreSQL server, when something happens to the server or to one that uses it."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL, text
from sqlalchemy.exc import OperationalError

from app.core.health import ask, ledger_check
from app.core.ledger import Database, Election, Job, Jobs, NewJob, Place, clock_of, open_database
from app.core.storage import new_job_id
from tests.unit.app.places import REPOSITORY, environment_of
from tests.unit.app.postgres import Server
from tests.unit.app.running_site import wait_for

LEASE = 30.0


@pytest.fixture
def kind() -> str:
    return "server"


@pytest.fixture
def jobs(database: Database, place: Place) -> Jobs:
    return Jobs(database, clock_of(place))


@pytest.fixture
def stopped(postgres: Server) -> Iterator[Server]:
    postgres.stop()
    yield postgres
    postgres.start()


def submit(jobs: Jobs) -> Job:
    return jobs.submit(NewJob(new_job_id(), "knee", "knee", "scan.nii", {}))


def test_lease_counts_on_the_server_s_clock(database: Database, jobs: Jobs) -> None:
    submit(jobs)
    job = jobs.claim_next(["knee"], "w", LEASE)
    assert job is not None
    with database.read() as connection:
        left = connection.execute(text("SELECT lease_until - extract(epoch FROM clock_timestamp()) FROM jobs"))
        assert LEASE - 10 < left.scalar_one() <= LEASE
    assert not jobs.is_dead(job, lambda _: False)


def test_server_that_was_killed_and_came_back_is_used_again(jobs: Jobs, postgres: Server) -> None:
    first = submit(jobs)
    postgres.signal(signal.SIGQUIT)  # it ends at once, as in a crash
    postgres.stop()
    with pytest.raises(OperationalError):
        submit(jobs)
    postgres.start()
    assert jobs.find(first.id) == first
    second = submit(jobs)
    assert [jobs.position(job) for job in (first, second)] == [1, 2]


def test_service_starts_without_the_server_and_says_so(
    place: Place, stopped: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        database = open_database(place)
    assert "does not answer yet" in caplog.text
    checks = {"ledger": ledger_check(Election(database, clock_of(place), "health"))}
    assert "connection" in ask(checks).checks["ledger"]
    stopped.start()
    assert ask(checks).missing == []
    database.close()


def test_job_that_another_process_has_in_hand_does_not_hold_up_the_next(
    jobs: Jobs, place: Place, postgres: Server
) -> None:
    first, second = submit(jobs), submit(jobs)
    assert isinstance(place, URL)
    with psycopg.connect(postgres.login(str(place.database))) as other:
        other.execute("SELECT * FROM jobs WHERE id = %s FOR UPDATE", [first.id])
        claimed = jobs.claim_next(["knee"], "w", LEASE)
    assert claimed is not None
    assert claimed.id == second.id


HOLDER = """
import os, time
from sqlalchemy import URL, text
from app.core.ledger import open_database, place_of
with open_database(place_of(os.environ)).write() as connection:
    connection.execute(text("UPDATE jobs SET progress = 1"))
    print("holds", flush=True)
    time.sleep(1000)
"""


def test_transaction_of_a_killed_process_is_undone(jobs: Jobs, place: Place, tmp_path: Path) -> None:
    job = submit(jobs)
    there = environment_of(place, tmp_path)
    command = [sys.executable, "-c", HOLDER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=there) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holds\n"
        holder.kill()
    claimed = wait_for(lambda: jobs.claim_next(["knee"], "w", LEASE), "the job free again", 10)
    assert (claimed.id, claimed.progress) == (job.id, 0)
