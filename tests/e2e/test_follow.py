"""A release ends no running job: busy workers follow when theirs is done, and a broken one is caught after the play."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.site import Site, deploy

WORKER = "knee-worker@0.service"


@pytest.fixture(autouse=True)
def _well_afterwards(site: Site) -> Iterator[None]:
    """What the next tests find is what the working tree says."""
    yield
    done = deploy(site.host)
    assert done.code == 0, done.output[-3000:]
    site.until(lambda: not site.statuses()["followers"], "no worker is left to follow")
    site.wait_for(site.submit())


def change(tree: Path, path: str, line: str) -> None:
    """Add a line to a file of the tree."""
    file = tree / path
    file.write_text(f"{file.read_text()}\n{line}\n")


def release_of(site: Site, unit: str) -> str:
    return str(next(each["release"] for each in site.statuses()["units"] if each["unit"] == unit))


def test_a_busy_worker_follows_when_its_job_ends(site: Site, tree: Path) -> None:
    assert deploy(site.host).code == 0
    change(tree, "app/core/work.py", "# another release")
    before = site.statuses()["active"]
    with site.jobs_held():
        job = site.submit()
        site.until(lambda: site.held() == 1, "the job runs")
        done = deploy(site.host, tree=tree)
        assert done.code == 0, done.output[-3000:]
        assert "web and queue proven" in done.output
        assert f"knee-worker@0 follows when job {job} ends" in done.output
        assert site.statuses()["active"] != before
        assert release_of(site, WORKER) == before
        assert "follows when job" in site.run("farrier-release status knee")
    site.wait_for(job)
    site.until(lambda: not site.statuses()["followers"], "the worker has followed")
    assert release_of(site, WORKER) == site.statuses()["active"]
    site.until(lambda: site.statuses()["proven"], "a real job went through it")
    assert f"{WORKER} runs the release" in site.run("farrier-release history knee")
    attempts = site.run("journalctl --no-pager -u knee-worker@0 -o cat | grep -c 'job " + job + ": attempt .* begins'")
    assert attempts.strip() == "1"


def test_a_worker_that_turns_out_broken_after_the_play_goes_back_alone(site: Site, tree: Path) -> None:
    assert deploy(site.host).code == 0
    before = site.statuses()["active"]
    change(tree, "app/knee/worker.py", 'raise RuntimeError("broken on purpose")')
    with site.jobs_held():
        job = site.submit()
        site.until(lambda: site.held() == 1, "the job runs")
        assert deploy(site.host, tree=tree).code == 0
    site.wait_for(job)
    site.until(lambda: WORKER in site.statuses()["alone"], "the worker went back")
    told = site.run("farrier-release status knee")
    assert f"it runs release {before}" in told
    assert "went back alone" in site.run("farrier-release history knee")
    assert "broken on purpose" in site.statuses()["alone"][WORKER]
    assert release_of(site, WORKER) == before
    site.wait_for(site.submit())  # the old one works on
    assert WORKER in site.host.run("farrier-release check knee").stdout


def test_a_release_that_shall_not_wait_cuts_the_job_which_is_tried_again(site: Site, tree: Path) -> None:
    assert deploy(site.host).code == 0
    change(tree, "app/core/work.py", "# at once")
    with site.jobs_held():
        job = site.submit()
        site.until(lambda: site.held() == 1, "the job runs")
        # The step's stop time is 30 s; a stopped process ends by SIGKILL alone.
        done = deploy(site.host, "-e", "farrier_workers=now", tree=tree)
        assert done.code == 0, done.output[-3000:]
        assert not site.statuses()["followers"]
    site.wait_for(job)


def test_workers_that_are_no_longer_wanted_end_their_job_first(site: Site, tree: Path) -> None:
    stack = tree / "stacks/knee/stack.yml"
    stack.write_text(stack.read_text().replace("queues: [knee]\n", "queues: [knee]\n    replicas: 2\n"))
    assert deploy(site.host, tree=tree).code == 0
    with site.jobs_held():
        jobs = [site.submit(), site.submit()]
        site.until(lambda: site.held() == 2, "both run")
        done = deploy(site.host)
        assert done.code == 0, done.output[-3000:]
        assert "knee-worker@1 ends when job" in done.output
    for job in jobs:
        site.wait_for(job)
    site.until(
        lambda: "inactive" in site.host.run("systemctl is-active knee-worker@1").stdout, "the second worker has ended"
    )
    assert site.host.run("systemctl is-enabled knee-worker@1").stdout.strip() != "enabled"


def test_a_rollback_loses_no_job(site: Site, tree: Path) -> None:
    """20 queued and 3 running, there and back again."""
    stack = tree / "stacks/knee/stack.yml"
    stack.write_text(stack.read_text().replace("queues: [knee]\n", "queues: [knee]\n    replicas: 3\n"))
    assert deploy(site.host, tree=tree).code == 0
    change(tree, "app/core/work.py", "# the release to be rolled back")
    assert deploy(site.host, tree=tree).code == 0
    for _ in range(2):
        with site.jobs_held():
            jobs = [site.submit() for _ in range(3)]
            site.until(lambda: site.held() == 3, "three run")
            jobs += [site.submit() for _ in range(20)]
            assert "follows when job" in site.host.run("farrier-release rollback knee").stdout
        for job in jobs:
            site.wait_for(job)
        site.until(lambda: not site.statuses()["followers"], "all workers have followed")
        assert {release_of(site, f"knee-worker@{index}.service") for index in range(3)} == {site.statuses()["active"]}
