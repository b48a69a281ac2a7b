"""What hangs is replaced, what is only slow is not, and no missing dependency ends a service."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.cutting import empty, fill, small_disk
from tests.e2e.hung import REPLACED, UNIT_REPLACED, Unit
from tests.e2e.site import Site, deploy

POOL = "spawn_main"
LEDGER = "/var/lib/farrier/knee/ledger"
SERVICES = "knee-web.socket knee-web knee-worker@0"
HALF_AN_HOUR = 1800


@pytest.fixture
def worker(site: Site) -> Unit:
    site.run("systemctl reset-failed 'knee*'")  # each test's restarts count for the next one's start limit
    return Unit(site, "knee-worker@0")


def test_stopped_pool_process_and_web_worker_are_replaced_alone(site: Site, worker: Unit) -> None:
    web = Unit(site, "knee-web")
    before, stopped_web = (worker.identity, web.identity), web.children("gunicorn")[-1]
    with site.jobs_held():
        job = site.submit()
        site.until(lambda: site.held() > 0, "the job's step is held")
        (stopped,) = worker.children(POOL)
        site.run(f"kill -STOP {stopped} {stopped_web}")
        site.until(lambda: stopped not in worker.children(POOL), "the pool process is replaced", REPLACED)
    site.wait_for(job, within=REPLACED)
    site.until(lambda: stopped_web not in web.children(), "the web worker is replaced", REPLACED)
    assert (worker.identity, web.identity) == before


@pytest.mark.slow
def test_stopped_worker_is_replaced(site: Site, worker: Unit) -> None:
    before = worker.identity
    site.run(f"kill -STOP {worker.main}")
    worker.await_replaced(before, REPLACED)
    site.wait_for(site.submit())


@pytest.mark.slow
def test_deadlocked_consumer_is_replaced_and_what_was_sent_to_it_is_not_lost(site: Site, worker: Unit) -> None:
    # Celery's own debugger holds the process that the signal hits, in the middle of what it does.
    with worker.drop_in("Environment=CELERY_RDBSIG=1"):
        site.wait_until_serving()
        before = worker.identity
        site.run(f"kill -USR2 {worker.main}")
        job = site.submit()
        worker.await_replaced(before, REPLACED)
        site.wait_for(job, within=REPLACED)
        assert "the consumer did not turn" in site.run("journalctl -u knee-worker@0 --since=-2min")
    site.wait_until_serving()


@pytest.mark.slow
def test_wholly_hung_units_are_replaced_and_their_jobs_are_done(site: Site, worker: Unit) -> None:
    hello = Unit(site, "hello-web")
    before, hello_before = worker.identity, hello.identity
    with site.jobs_held():
        running = site.submit()
        site.until(lambda: site.held() > 0, "the job's step is held")
        started = time.monotonic()
        worker.signal("STOP")
        hello.signal("STOP")
        waiting = site.submit()  # Redis hands its message to the hung worker, and has it no more
        worker.await_replaced(before, UNIT_REPLACED)
    hello.await_replaced(hello_before, UNIT_REPLACED - (time.monotonic() - started))
    site.wait_until_serving("/hello")
    for job in (running, waiting):
        site.wait_for(job, within=60)


@pytest.mark.slow
def test_wholly_hung_redis_is_replaced_and_nothing_else(site: Site, worker: Unit) -> None:
    redis, others = Unit(site, "knee-redis"), (worker, Unit(site, "knee-web"))
    before, others_before = redis.identity, [unit.identity for unit in others]
    redis.signal("STOP")
    job = site.submit()
    redis.await_replaced(before, UNIT_REPLACED)
    site.wait_for(job, within=60)
    assert [unit.identity for unit in others] == others_before


@pytest.fixture
def unhurried(site: Site, worker: Unit, tree: Path) -> Iterator[Site]:
    """The site with limits that let a step take an hour."""
    del worker  # its reset of the start limits comes first
    file = tree / "stacks" / "knee" / "stack.yml"
    told = yaml.safe_load(file.read_text())
    pipeline = told["pipelines"]["knee"]
    pipeline |= {"timeout": "1h", "steps": [step | {"timeout": "1h"} for step in pipeline["steps"]]}
    file.write_text(yaml.safe_dump(told, sort_keys=False))
    done = deploy(site.host, tree=tree)
    assert done.code == 0, done.output[-4000:]
    yield site
    deploy(site.host)


@pytest.mark.slow
@pytest.mark.timeout(2700)
def test_half_an_hour_of_job_and_forty_seconds_without_redis_replace_nothing(unhurried: Site, worker: Unit) -> None:
    site = unhurried
    units = (worker, Unit(site, "knee-web"))
    before = [unit.identity for unit in units]
    children = worker.children(POOL)
    with site.jobs_held():
        job = site.submit()
        site.until(lambda: site.held() > 0, "the job's step is held")
        began = time.monotonic()
        site.run("systemctl stop knee-redis; sleep 40; systemctl start knee-redis")
        site.wait_until_serving()
        while time.monotonic() < began + HALF_AN_HOUR:
            assert [unit.identity for unit in units] == before
            time.sleep(10)
        assert worker.children(POOL) == children
    site.wait_for(job)
    site.run("systemctl restart knee-redis")
    site.wait_for(site.submit())
    assert [unit.identity for unit in units] == before


@pytest.mark.slow
def test_start_without_redis_or_with_a_full_ledger_waits_and_never_fails(site: Site, worker: Unit) -> None:
    # As when Redis does not come up: an ordinary start would start it too.
    start = "systemctl start --job-mode=ignore-dependencies knee-worker@0"
    site.run(f"systemctl stop knee-redis knee-worker@0; {start}")
    assert worker.show("ActiveState") == "active"
    assert "Redis" in worker.show("StatusText")
    site.run("systemctl start knee-redis")
    site.wait_for(site.submit())
    site.run(f"systemctl stop {SERVICES}")
    with small_disk(site, LEDGER):
        fill(site, LEDGER)
        site.run(f"systemctl start --no-block {SERVICES}")
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            assert not worker.has_failed()
            assert not Unit(site, "knee-web").has_failed()
            time.sleep(1)
        empty(site, LEDGER)
        site.wait_until_serving()
        site.wait_for(site.submit())
        site.run(f"systemctl stop {SERVICES}")
    site.run(f"systemctl start {SERVICES}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("breaking", "mending", "reason"),
    [
        ("mv {packages}/kombu {packages}/kombu.off", "mv {packages}/kombu.off {packages}/kombu", "kombu"),
        (
            "mv {credentials}/redis-password {credentials}/x",
            "mv {credentials}/x {credentials}/redis-password",
            "credential",
        ),
    ],
    ids=["import error", "missing credential"],
)
def test_hopeless_start_ends_as_failed_with_its_reason(
    site: Site, worker: Unit, breaking: str, mending: str, reason: str
) -> None:
    prefix = site.run("grep -o '/opt/farrier/envs/app-[^/]*' '/etc/systemd/system/knee-worker@.service'").split()[0]
    places = {
        "packages": site.run(f"echo {prefix}/lib/python3*/site-packages").strip(),
        "credentials": "/etc/farrier/knee/credentials",
    }
    web = Unit(site, "knee-web")
    site.run(breaking.format(**places))
    try:
        site.host.run("systemctl restart --no-block knee-worker@0 knee-web")
        for unit in (worker, web):
            site.until(unit.has_failed, f"{unit.name} failed", 90)
            assert reason in site.run(f"journalctl --no-pager -n 60 -u {unit.name}").lower()
    finally:
        site.run(mending.format(**places))
        site.run("systemctl reset-failed 'knee*'; systemctl start knee.target knee-web knee-worker@0")
    site.wait_until_serving()
