"""How long the site itself takes over a job, beside a program that does the same over a bare Redis list.

The jobs have no steps, so all of their time is the site's: upload, ledger, Celery, publishing, telling. The reference
is a POST that goes over a list to a worker and back, under the same server, in the same env, asked in turns with the
jobs; and the same without HTTP.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from testbed import host
from testbed.host import Host
from tests.e2e.site import ROOT, Site, copy_of_the_tree, deploy, site_of
from tests.harness import Figure

_PROGRAMS = ROOT / "tests" / "bench" / "on_host"
_THERE = "/usr/local/lib/bench"
_LIVE = "/run/farrier/knee/web.live.sock"
_REFERENCE = "/run/bench-reference.sock"
_ENVIRONMENT = "/run/bench.env"
_ROUNDS = 200


def jobs() -> Iterator[Figure]:
    """Medians over all rounds; one web process, an idle worker."""
    with no_op_host("bench-jobs") as (site, python):
        _start_reference(site, python)
        seconds: dict[str, list[float]] = on_host(site, python, f"jobs {_LIVE} {_REFERENCE} {_ROUNDS}")
    p50 = {name: median(each) for name, each in seconds.items()}
    yield Figure("no-op job: submitted to running, p50", p50["running"] * 1000, "ms")
    yield Figure("no-op job: submitted to known as done, p50", p50["done"] * 1000, "ms")
    yield Figure("the same work over a bare Redis list, p50", p50["reference"] * 1000, "ms")
    yield Figure("round trip over a bare Redis list without HTTP, p50", p50["list"] * 1000, "ms")
    yield Figure("no-op job : bare Redis list", p50["done"] / p50["reference"], "ratio")


@contextmanager
def no_op_host(name: str) -> Iterator[tuple[Site, str]]:
    """A host whose knee site has one web process and a pipeline without steps; and the Python of its app."""
    booted = host.up(name, "bookworm", warm=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield prepare(booted, Path(folder))
    finally:
        host.down(name)


def prepare(target: Host, folder: Path) -> tuple[Site, str]:
    """Deploy onto a host, and put the measuring programs there."""
    tree = copy_of_the_tree(folder / "tree")
    stack = tree / "stacks" / "knee" / "stack.yml"
    told = yaml.safe_load(stack.read_text())
    told["services"]["web"]["processes"] = 1
    told["pipelines"]["knee"]["steps"] = []
    stack.write_text(yaml.safe_dump(told, sort_keys=False))
    done = deploy(target, "-e", '{"farrier_stacks": ["knee"]}', tree=tree)
    assert done.code == 0, done.output[-4000:]
    site = site_of(target, folder)
    for program in _PROGRAMS.glob("*.py"):
        there = f"{_THERE}/{program.relative_to(ROOT)}"
        site.run(f"mkdir -p {Path(there).parent} && cat > {there} <<'END'\n{program.read_text()}\nEND")
    site.run(
        f"(umask 077; echo BENCH_REDIS=unix://app:$(cat /etc/farrier/knee/credentials/redis-password)"
        f"@/run/farrier/knee/redis/redis.sock > {_ENVIRONMENT})"
    )
    started = site.run("systemctl show --property=ExecStart knee-web.service")
    found = re.search(r"(\S+)/bin/gunicorn", started)
    assert found, started
    return site, f"{found[1]}/bin/python"


def on_host(site: Site, python: str, command: str) -> Any:
    """What a measuring program printed."""
    return json.loads(
        site.run(f"cd {_THERE} && set -a && . {_ENVIRONMENT} && {python} -m tests.bench.on_host.{command}")
    )


def _start_reference(site: Site, python: str) -> None:
    run = f"systemd-run --quiet --property=EnvironmentFile={_ENVIRONMENT} --working-directory={_THERE}"
    gunicorn = f"{python} -m gunicorn --no-control-socket -k uvicorn_worker.UvicornWorker -w 1 -b unix:{_REFERENCE}"
    site.run(f"{run} --unit=bench-reference-web {gunicorn} tests.bench.on_host.web:app")
    site.run(f"{run} --unit=bench-reference-worker {python} -m tests.bench.on_host.worker")
    site.until(lambda: site.host.run(f"curl -sf --unix-socket {_REFERENCE} http://x/docs").returncode == 0, "reference")


RUN = [jobs]
