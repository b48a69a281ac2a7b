"""A plain Celery program, and a web program that blocks, on a host: neither knows anything of Farrier."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from testbed import host
from tests.e2e.hung import REPLACED, Unit
from tests.e2e.site import ROOT, Site, copy_of_the_tree, deploy, site_of

STACK = ROOT / "tests" / "foreign" / "stack"
NOTES = "/var/lib/farrier/foreign/notes"
CODE = "$(sed -n 's/^WorkingDirectory=//p' '/etc/systemd/system/foreign-tasks@.service')"
PYTHON = "$(grep -o '/opt/farrier/envs/app-[^/]*' '/etc/systemd/system/foreign-tasks@.service' | head -n 1)/bin/python"
# As the program's own web would be given it.
BROKER = (
    "redis+socket://app:$(cat /etc/farrier/foreign/credentials/redis-password)@/run/farrier/foreign/redis/redis.sock"
    "?virtual_host=0"
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(prepared: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A host of its own with the stack of these programs."""
    del prepared
    folder = tmp_path_factory.mktemp("foreign")
    booted = host.up(f"{os.environ.get('FARRIER_TEST_HOST', 'test-pegasus')}-foreign", "bookworm", warm=True)
    try:
        yield deployed_on(booted, folder)
    finally:
        host.down(booted.name)


def deployed_on(booted: host.Host, folder: Path) -> Site:
    """The host with the stack `foreign`, whose envs are those of our own stacks."""
    tree = copy_of_the_tree(folder / "tree")
    shutil.copytree(STACK, tree / "stacks" / "foreign")
    (tree / "build").unlink()
    shutil.copytree(ROOT / "build" / "locks", tree / "build" / "locks")
    for parent in (tree / "stacks", tree / "build" / "locks"):
        (parent / "foreign" / "envs").mkdir(parents=True)
        for stack, env in (("hello", "web"), ("knee", "app")):
            for file in (parent / stack / "envs").glob(f"{env}.*"):
                shutil.copy2(file, parent / "foreign" / "envs")
    done = deploy(booted, "-e", '{"farrier_stacks": ["foreign"]}', tree=tree)
    assert done.code == 0, done.output[-4000:]
    return site_of(booted, folder)


@pytest.fixture
def tasks(site: Site) -> Unit:
    site.run("systemctl reset-failed 'foreign*'")
    return Unit(site, "foreign-tasks@0")


def submit(site: Site, name: str, seconds: float) -> None:
    """Send a job by the program's own means."""
    send = f"import tasks; tasks.work.delay('{name}', {seconds})"
    site.run(f'cd {CODE} && CELERY_BROKER_URL="{BROKER}" {PYTHON} -B -c "{send}"')


def notes(site: Site, name: str) -> list[str]:
    """What a job noted: `began` and `ended`."""
    return [line.split()[0] for line in site.host.run(f"cat {NOTES}/{name}").stdout.splitlines()]


def await_notes(site: Site, name: str, wanted: list[str], within: float = 30) -> None:
    site.until(lambda: notes(site, name) == wanted, f"job {name} noted {wanted}", within)


@pytest.mark.parametrize("victim", ["worker", "pool process"])
def test_job_of_a_killed_process_runs_again(site: Site, tasks: Unit, victim: str) -> None:
    name = victim.split(maxsplit=1)[0]
    submit(site, name, 5)
    await_notes(site, name, ["began"])
    if victim == "worker":
        tasks.signal("KILL")
    else:
        site.run(f"kill -KILL $(awk '{{print $2}}' {NOTES}/{name})")
    await_notes(site, name, ["began", "began"])
    await_notes(site, name, ["began", "began", "ended"])


def test_restart_in_the_middle_of_a_job_is_bounded_and_gives_it_back(site: Site, tasks: Unit) -> None:
    submit(site, "restarted", 25)
    await_notes(site, "restarted", ["began"])
    started = time.monotonic()
    site.run("systemctl restart foreign-tasks@0")
    assert time.monotonic() - started < 5 + 15, "it takes its stop time at most"
    assert tasks.show("Result") == "success"
    await_notes(site, "restarted", ["began", "began", "ended"], 60)


def test_stopped_worker_is_replaced(site: Site, tasks: Unit) -> None:
    before = tasks.identity
    site.run(f"kill -STOP {tasks.main}")
    tasks.await_replaced(before, REPLACED)
    submit(site, "afterwards", 0)
    await_notes(site, "afterwards", ["began", "ended"])


def test_forty_seconds_without_redis_replace_no_worker(site: Site, tasks: Unit) -> None:
    before = tasks.identity
    submit(site, "long", 50)
    await_notes(site, "long", ["began"])
    site.run("systemctl stop foreign-redis; sleep 40; systemctl start foreign-redis")
    await_notes(site, "long", ["began", "ended"], 40)
    submit(site, "next", 0)
    await_notes(site, "next", ["began", "ended"], 60)
    assert tasks.identity == before


def test_its_password_is_in_no_unit_and_no_command_line(site: Site, tasks: Unit) -> None:
    secret = site.run("cat /etc/farrier/foreign/credentials/redis-password").strip()
    assert secret not in site.run(f"systemctl show {tasks.name}; systemctl cat {tasks.name}")
    assert secret not in site.run(
        f"tr '\\0' ' ' < /proc/{tasks.main}/cmdline; tr '\\0' ' ' < /proc/{tasks.main}/environ"
    )
    assert secret not in site.run(f"journalctl --no-pager -u {tasks.name}")


def test_blocked_event_loop_is_replaced_alone(site: Site) -> None:
    web = Unit(site, "foreign-web")
    before, workers = web.identity, set(web.children("gunicorn"))

    def ask(path: str) -> str:
        with site.client() as client, suppress(httpx.HTTPError):
            return client.get(f"/foreign{path}", timeout=60).text
        return ""

    with ThreadPoolExecutor(1) as pool:
        blocked = pool.submit(ask, "/block?seconds=300")
        site.until(lambda: len(workers - set(web.children("gunicorn"))) == 1, "the worker is replaced", REPLACED)
        site.wait_until_serving("/foreign/", within=10)
        assert blocked.result() == ""
    assert web.identity == before, "one worker is replaced, not the unit"


def test_slow_requests_replace_nothing(site: Site) -> None:
    web = Unit(site, "foreign-web")
    before, workers = web.identity, web.children("gunicorn")
    with ThreadPoolExecutor(4) as pool, site.client() as client:
        answers = list(pool.map(lambda _: client.get("/foreign/slow?seconds=40", timeout=60).text, range(4)))
    assert set(answers) <= set(workers)
    assert (web.identity, web.children("gunicorn")) == (before, workers)
