"""What hangs is replaced, what is only slow is not, and no missing dependency ends a service."""

from __future__ import annotations

import time

import pytest

from tests.e2e.cutting import empty, fill, small_disk
from tests.e2e.hung import REPLACED, UNIT_REPLACED, Unit
from tests.e2e.site import Site

POOL = "spawn_main"
LEDGER = "/var/lib/farrier/knee/ledger"
SERVICES = "knee-web.socket knee-web knee-worker@0"


@pytest.fixture
def worker(site: Site) -> Unit:
    site.run("systemctl reset-failed 'knee*'")  # each test's restarts count for the next one's start limit
    return Unit(site, "knee-worker@0")


def test_stopped_pool_process_web_worker_and_web_unit_are_replaced(site: Site, worker: Unit) -> None:
    web, hello = Unit(site, "knee-web"), Unit(site, "hello-web")
    before, web_before, hello_before = worker.identity, web.identity, hello.identity
    stopped_web = web.children("gunicorn")[-1]
    with site.jobs_held():
        job = site.submit()
        site.until(lambda: site.held() > 0, "the job's step is held")
        (stopped,) = worker.children(POOL)
        hello.signal("STOP")
        site.run(f"kill -STOP {stopped} {stopped_web}")
        started = time.monotonic()
        site.until(lambda: stopped not in worker.children(POOL), "the pool process is replaced", REPLACED)
    site.wait_for(job, within=REPLACED)
    site.until(lambda: stopped_web not in web.children(), "the web worker is replaced", REPLACED)
    hello.await_replaced(hello_before, UNIT_REPLACED - (time.monotonic() - started))
    site.wait_until_serving("/hello")
    assert (worker.identity, web.identity) == (before, web_before), "nothing but the part that hung is replaced"


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
def test_wholly_hung_worker_is_replaced_and_its_jobs_are_done(site: Site, worker: Unit) -> None:
    before = worker.identity
    with site.jobs_held():
        running = site.submit()
        site.until(lambda: site.held() > 0, "the job's step is held")
        worker.signal("STOP")
        waiting = site.submit()  # Redis hands its message to the hung worker, and has it no more
        started = time.monotonic()
        worker.await_replaced(before, UNIT_REPLACED)
    for job in (running, waiting):
        site.wait_for(job, within=UNIT_REPLACED - (time.monotonic() - started) + 30)


@pytest.mark.slow
def test_wholly_hung_redis_is_replaced_and_nothing_else(site: Site, worker: Unit) -> None:
    redis, others = Unit(site, "knee-redis"), (worker, Unit(site, "knee-web"))
    before, others_before = redis.identity, [unit.identity for unit in others]
    redis.signal("STOP")
    job = site.submit()
    redis.await_replaced(before, UNIT_REPLACED)
    site.wait_for(job, within=60)
    assert [unit.identity for unit in others] == others_before


@pytest.mark.slow
def test_long_job_and_forty_seconds_without_redis_replace_nothing(site: Site, worker: Unit) -> None:
    """The job lasts longer than every watchdog together; one of 30 minutes is the same to them."""
    units = (worker, Unit(site, "knee-web"))
    before = [unit.identity for unit in units]
    children = worker.children(POOL)
    with site.jobs_held():
        job = site.submit()
        site.until(lambda: site.held() > 0, "the job's step is held")
        began = time.monotonic()
        site.run("systemctl stop knee-redis; sleep 40; systemctl start knee-redis")
        site.wait_until_serving()
        while time.monotonic() < began + 90:
            assert [unit.identity for unit in units] == before
            time.sleep(1)
        assert worker.children(POOL) == children
    site.wait_for(job)
    site.run("systemctl restart knee-redis")
    site.wait_for(site.submit())
    assert [unit.identity for unit in units] == before


@pytest.mark.slow
def test_start_without_redis_or_with_a_full_ledger_waits_and_never_fails(site: Site, worker: Unit) -> None:
    site.run("systemctl stop knee-redis; systemctl restart knee-worker@0")
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
            assert reason in site.host.run(f"systemctl status --no-pager --lines=40 {unit.name}").stdout.lower()
    finally:
        site.run(mending.format(**places))
        site.run("systemctl reset-failed 'knee*'; systemctl start knee.target knee-web knee-worker@0")
    site.wait_until_serving()
