"""Workers that sleep: no job is lost by it, and whoever looks at the host takes them for well."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from farrier.kinds.celery import start_burst
from testbed import host
from tests.e2e.site import deploy
from tests.jobs.serving import BELLS, WORKERS, JobsHost, add_jobs, tree_with_jobs
from tests.jobs.waking import Wakers, states

IDLE = 1  # seconds
WAKE_UPS = 200
ONLY = ("-e", '{"farrier_stacks": ["jobs"]}')

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def jobs(prepared: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobsHost]:
    """A host of its own, with the limits that the stack file of such workers makes."""
    del prepared
    booted = host.up(f"{os.environ.get('FARRIER_TEST_HOST', 'test-pegasus')}-idle", "bookworm", warm=True)
    try:
        yield add_jobs(booted, tmp_path_factory.mktemp("idle"), ("idle: 1h", f"idle: {IDLE}s"))
    finally:
        host.down(booted.name)


@pytest.fixture
def asleep(jobs: JobsHost) -> JobsHost:
    """The host with both workers asleep."""
    jobs.run(f"systemctl reset-failed 'jobs*'; systemctl start {BELLS}")
    jobs.site.until(lambda: states(jobs) == ["asleep", "asleep"], "both workers sleep")
    return jobs


def ready(jobs: JobsHost) -> int:
    return jobs.site.status_code("/engine/health/ready")


@pytest.mark.timeout(2400)  # some 16 a minute
def test_two_hundred_wake_ups_lose_no_job(jobs: JobsHost) -> None:
    found = Wakers(jobs, idle=IDLE, seed=200).run(WAKE_UPS, pause=8)
    print(found)
    assert found.wrong == []
    assert found.slept >= WAKE_UPS
    assert "failed" not in states(jobs)


def test_all_is_well_while_workers_sleep(asleep: JobsHost) -> None:
    assert ready(asleep) == 200
    assert "as it should be" in asleep.run("farrier-release check jobs")


def test_one_job_wakes_one_worker(asleep: JobsHost) -> None:
    with asleep.site.client() as client:
        client.post("/engine/submit/short", content="one").raise_for_status()
    asleep.site.until(lambda: states(asleep)[0] == "active", "the first worker wakes")
    assert states(asleep)[1] == "asleep"


def test_a_second_deploy_wakes_nobody_and_another_release_proves_who_sleeps(asleep: JobsHost, tmp_path: Path) -> None:
    same = tree_with_jobs(tmp_path / "same", ("idle: 1h", f"idle: {IDLE}s"))
    foretold = deploy(asleep.site.host, *ONLY, "--check", tree=same)
    assert (foretold.code, foretold.changed) == (0, 0), foretold.output[-3000:]
    again = deploy(asleep.site.host, *ONLY, tree=same)
    assert (again.code, again.changed) == (0, 0), again.output[-3000:]
    assert states(asleep) == ["asleep", "asleep"]
    before = asleep.run(f"systemctl show --property=ExecMainPID {WORKERS}")
    other = tree_with_jobs(tmp_path / "other", ("idle: 1h", f"idle: {IDLE + 1}s"))
    changed = deploy(asleep.site.host, *ONLY, tree=other)
    assert changed.code == 0, changed.output[-3000:]
    assert asleep.run(f"systemctl show --property=ExecMainPID {WORKERS}") != before
    asleep.site.until(lambda: states(asleep) == ["asleep", "asleep"], "both workers sleep again")
    asleep.run("farrier-release rollback jobs")
    asleep.site.until(lambda: states(asleep) == ["asleep", "asleep"], "both workers sleep after the rollback")
    assert "as it should be" in asleep.run("farrier-release check jobs")


def test_a_worker_that_cannot_sleep_well_is_told(asleep: JobsHost) -> None:
    asleep.run(f"systemctl stop {BELLS}")
    assert ready(asleep) == 503
    assert asleep.site.host.run("farrier-release check jobs").stdout.count("does not run") == 4
    asleep.run(f"systemctl start {BELLS}")
    assert ready(asleep) == 200


def test_a_worker_that_cannot_start_is_given_up_and_told(asleep: JobsHost) -> None:
    limit = (
        "[Unit]",
        f"StartLimitBurst={start_burst(600)}",
    )  # as of `idle: 10m`
    asleep.drop_in("jobs-worker@", "broken", "Environment=FARRIER_MAX_ATTEMPTS=none", *limit)
    asleep.run("systemctl daemon-reload")
    try:
        with asleep.site.client() as client:
            job = client.post("/engine/submit/noop", content="early").json()["job_id"]
        asleep.site.until(lambda: ready(asleep) == 503, "the site says that nobody serves the queue", within=600)
    finally:
        asleep.run("rm /etc/systemd/system/jobs-worker@.service.d/broken.conf; systemctl daemon-reload")
        asleep.run(f"systemctl reset-failed 'jobs*'; systemctl start {WORKERS}")
    with asleep.site.client() as client:
        asleep.site.until(lambda: client.get(f"/engine/status/{job}").json()["state"] == "done", "the job is done")
