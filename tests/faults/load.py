"""What users notice of a change or a crash: requests sent, failed, and the slowest new one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.e2e.site import Site
from tests.harness import Observation
from tests.load.record import Request, by_kind, figures
from tests.load.serving import Run, release, serving, storm, under_load

_ALL = 20_000
_ROUNDS = 20
_NONE = "no request fails"
_QUICK = f"{_NONE}, a new one waits at most 1 s"
_HELD = "only what the process held fails"
_CONNECTIONS = "ss -xpH state established src '*web.sock' | grep -cE 'pid=({pids}),'"


@dataclass(frozen=True)
class Case:
    """What happens under load. `change` gives how many requests may fail: what a killed process held."""

    fault: str
    promise: str
    change: Callable[[Site, Path], int] = lambda *_: 0
    slowest: float = float("inf")  # seconds that a new request may wait


def load() -> Iterator[Observation]:
    """Each change under the same load, on one host; then many changes under a storm of small POSTs."""
    total = 0
    with serving(os.environ.get("FARRIER_FAULT_HOST", "fault-load")) as (site, tree):
        for case in CASES:
            run, allowed, wrong = Run(), 0, ""
            try:
                with under_load(site) as run:
                    allowed = case.change(site, tree)
            except AssertionError as error:
                wrong = (str(error).splitlines() or ["a check failed"])[0]
            total += len(run.requests)
            yield observation(case, run.requests, allowed, wrong)
        for name, by_release in (("release", True), ("`systemctl restart`", False)):
            run = storm(site, _ROUNDS, by_release=by_release)
            total += len(run.requests)
            yield observation(Case(f"{_ROUNDS} × {name}, 150 small POSTs a second", _NONE), run.requests)
    yield Observation("under load: all of these", f"at least {_ALL:,} requests", f"{total:,} requests", total >= _ALL)


def observation(case: Case, requests: list[Request], allowed: int = 0, wrong: str = "") -> Observation:
    """The row of a case. `allowed`: how many may have failed; `wrong`: what else was not as it should be."""
    seen = figures(requests)
    held = f" of {allowed} held" if allowed else ""
    errors = sorted({each.error for each in requests if each.error})
    return Observation(
        fault=f"under load: {case.fault}",
        promise=case.promise,
        observed="; ".join(part for part in (f"{seen}{held} ({by_kind(requests)})", *errors[:3], wrong) if part),
        ok=not wrong and seen.sent > 0 and seen.failed <= allowed and seen.slowest <= case.slowest,
    )


def changed_code(site: Site, tree: Path) -> int:
    replace(tree / "stacks" / "load" / "app" / "load.py", '"said": "ok"', '"said": "changed"')
    release(site.host, tree)
    with site.client() as client:
        assert client.get("/load/").json()["said"] == "changed"
    return 0


def changed_env(site: Site, tree: Path) -> int:
    before = prefix(site)
    pip = tree / "stacks" / "load" / "envs" / "web.txt"
    pip.write_text(pip.read_text() + "# another lock is another prefix\n")
    release(site.host, tree)
    assert prefix(site) != before, before
    return 0


def rollback(site: Site, _: Path) -> int:
    before = prefix(site)
    site.run("farrier-release rollback load --who test")
    assert prefix(site) != before, before
    return 0


def changed_routes(site: Site, tree: Path) -> int:
    replace(tree / "stacks" / "load" / "stack.yml", "path: /old", "path: /new")
    release(site.host, tree)
    with site.client() as client:
        assert "said" in client.get("/new/").text, "the new route does not lead to the stack"
        assert "said" not in client.get("/old/").text, "the old route still leads to the stack"
    return 0


def command(text: str, site: Site, _: Path) -> int:
    site.run(text)
    return 0


def worker_killed(site: Site, _: Path) -> int:
    """It is stopped first, so that what it holds can be counted."""
    master = "$(systemctl show --property=MainPID --value load-web)"
    worker = site.run(f"pgrep --newest --parent {master} gunicorn").strip()
    return int(site.run(f"kill -STOP {worker}; {_CONNECTIONS.format(pids=worker)}; kill -KILL {worker}"))


def master_killed(site: Site, _: Path) -> int:
    """systemd ends its workers with it."""
    master = site.run("systemctl show --property=MainPID --value load-web").strip()
    workers = site.run(f"pgrep --parent {master} gunicorn").split()
    stop = f"kill -STOP {master} {' '.join(workers)}"
    return int(site.run(f"{stop}; {_CONNECTIONS.format(pids='|'.join(workers))}; kill -KILL {master}"))


def prefix(site: Site) -> str:
    """The env that the web service runs out of."""
    return site.run("grep -o '/opt/farrier/envs/[^/]*' /etc/systemd/system/load-web.service").split()[0]


def replace(file: Path, old: str, new: str) -> None:
    """Change a file's text, which must have `old`."""
    text = file.read_text()
    assert old in text, f"{file} has no {old}"
    file.write_text(text.replace(old, new))


CASES = (
    Case("release with changed code", _QUICK, changed_code, 1.0),
    Case("release with a changed env", _QUICK, changed_env, 1.0),
    Case("`farrier-release rollback`", _QUICK, rollback, 1.0),
    Case("`systemctl restart`", _NONE, partial(command, "systemctl restart load-web")),
    Case("`systemctl reload`", _NONE, partial(command, "systemctl reload load-web")),
    Case("release with changed routes", _NONE, changed_routes),
    Case("kill -9 of a web worker", _HELD, worker_killed),
    Case("kill -9 of the web service's master", _HELD, master_killed),
)

RUN = [load]
