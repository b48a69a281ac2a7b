"""A password rotated while scans keep coming, with and without a crash in the middle."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.e2e.posts import Posts, steady_posts
from tests.e2e.site import Site, deployed
from tests.harness import Observation

_FOLDER = "/etc/farrier/knee/credentials"
_NEW = f"{_FOLDER}/redis-password.new"
_ROTATE = "farrier-release rotate knee redis-password --who test"
_RATE = 5.0  # scans a second
_NONE = "no submit fails; the old password is gone at the end"


def rotation() -> Iterator[Observation]:
    """Each case on the same host, under the same load."""
    with deployed(os.environ.get("FARRIER_FAULT_HOST", "fault-secrets")) as site:
        for case in CASES:
            yield observation(site, case)


@dataclass(frozen=True)
class Case:
    """What happens to a rotation under load."""

    fault: str
    cause: Callable[[Site], None]


def observation(site: Site, case: Case) -> Observation:
    """The row of a case."""
    old, wrong, posts = site.run(f"cat {_FOLDER}/redis-password"), "", Posts()
    try:
        with steady_posts(site, _RATE) as posts:
            case.cause(site)
            site.until(lambda: site.host.run(f"test -e {_NEW}").returncode != 0, "the rotation ends", within=120)
        site.wait_until_serving()
        assert not takes(site, old), "Redis takes the old password still"
        assert takes(site, site.run(f"cat {_FOLDER}/redis-password")), "Redis does not take the new password"
        site.wait_for(site.submit())
    except AssertionError as error:
        wrong = (str(error).splitlines() or ["a check failed"])[0]
    seen = f"{posts.sent} submits, {len(posts.errors)} failed, the slowest took {posts.slowest:.1f} s"
    told = "; ".join(part for part in (seen, *sorted(set(posts.errors))[:2], wrong) if part)
    return Observation(
        f"password rotated: {case.fault}", _NONE, told, not wrong and posts.sent > 0 and not posts.errors
    )


def takes(site: Site, password: str) -> bool:
    """Whether Redis lets a new client in with this password."""
    ask = f"printf 'AUTH app %s\\nPING\\n' '{password.strip()}' | redis-cli -s /run/farrier/knee/redis/redis.sock"
    return "PONG" in site.run(ask)


def undisturbed(site: Site) -> None:
    """To its end, or as far as the busy worker lets it."""
    assert site.host.run(_ROTATE).returncode in (0, 3)


def killed(site: Site) -> None:
    """kill -9 of farrier-release as soon as it has begun, and again when the services go over; then it is run again."""
    for moment in (f"test -e {_NEW}", f"cmp -s {_NEW} {_FOLDER}/redis-password"):
        site.run(f"nohup {_ROTATE} >/dev/null 2>&1 </dev/null & until {moment}; do :; done; kill -9 $!")
    undisturbed(site)


def redis_killed(site: Site) -> None:
    """kill -9 of Redis while both passwords are good: it comes back with both."""
    site.run(f"nohup {_ROTATE} >/dev/null 2>&1 </dev/null & until test -e {_NEW}; do :; done")
    site.run("systemctl kill --signal=KILL knee-redis")
    site.run("timeout 120 sh -c 'while pgrep -f \"[f]arrier-release rotate\" >/dev/null; do sleep 0.2; done'")
    undisturbed(site)


CASES = (
    Case("undisturbed", undisturbed),
    Case("kill -9 of farrier-release twice in the middle", killed),
    Case("kill -9 of Redis in the middle", redis_killed),
)

RUN = [rotation]
