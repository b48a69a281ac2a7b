"""Each line of docs/reference/health.md: the fault is caused on the host, and all four are asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.health import FAULTS, Fault, Seen
from tests.e2e.site import Site

PLAN = "/opt/farrier/knee/current/plan.json"
QUICK = "the worker is stopped"


@pytest.fixture(scope="module")
def impatient(site: Site) -> Iterator[Site]:
    """The site, whose verify run waits a few seconds for its job and not minutes."""
    site.run(f"cp -a {PLAN} /run/plan.json")
    plan = json.loads(site.run(f"cat {PLAN}"))
    for step in plan["verify"]:
        step["within"] = min(step["within"], 8)
    site.run(f"cat > {PLAN} <<'END'\n{json.dumps(plan)}\nEND")
    yield site
    site.run(f"cp -a /run/plan.json {PLAN}")


@contextmanager
def mended(site: Site) -> Iterator[None]:
    """Afterwards the site serves, whatever was done to it."""
    try:
        yield
    finally:
        site.run("systemctl reset-failed 'knee*'; systemctl start knee.target")
        site.wait_until_serving()


def seen(site: Site, fault: Fault) -> Seen:
    """What live, ready and the unit say now."""
    with site.client() as client:
        live, ready = client.get("/health/live"), client.get("/health/ready")
    missing = ready.json()["missing"] if ready.status_code in (200, 503) else []
    state = site.run(f"systemctl show --property=ActiveState --value {fault.unit}").strip()
    return Seen(live.status_code, ready.status_code, tuple(missing), state)


@pytest.mark.parametrize(
    "fault",
    [pytest.param(each, id=each.name, marks=() if each.name == QUICK else pytest.mark.slow) for each in FAULTS],
)
def test_all_four_tell_the_truth(impatient: Site, fault: Fault) -> None:
    site = impatient
    with mended(site), fault.cause(site):
        await_seen(site, fault, fault.seen)
        if fault.lasts:
            done = site.host.run("farrier-release verify knee")
            said = done.stdout + done.stderr
            assert (done.returncode == 0) == (fault.verify == ""), said
            assert fault.verify in said
    if not fault.lasts:
        site.run("farrier-release verify knee")


def await_seen(site: Site, fault: Fault, wanted: Seen) -> None:
    """Wait until the three say what is wanted; ready must within 15 s, a unit that systemd gives up takes longer."""
    last: list[Seen] = []

    def look() -> bool:
        last[:] = [seen(site, fault)]
        return last == [wanted]

    until(site, look, lambda: f"{fault.name}: {last} instead of {wanted}", fault.within)


def until(site: Site, condition: Callable[[], bool], what: Callable[[], str], within: float) -> None:
    """As Site.until, with words that are made at the end."""
    try:
        site.until(condition, "", within)
    except AssertionError as error:
        raise AssertionError(what()) from error
