"""Followers of a job miss nothing through the front door, while Redis is restarted and a release goes live."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.e2e.site import Site
from tests.unit.app.followers import following, until

MANY = 200
_ANOTHER = "29990101T000000Z-test"


@pytest.fixture
def another(site: Site) -> Iterator[str]:
    """A release that differs in the web service's unit alone; afterwards the one before serves again."""
    first = site.run("basename $(readlink /opt/farrier/knee/current)").strip()
    site.run(
        f"cd /opt/farrier/knee/releases && rm -rf {_ANOTHER} && cp -r {first} {_ANOTHER} && "
        f"sed -i 's/^Description=.*/Description=another/' {_ANOTHER}/units/knee-web.service"
    )
    yield _ANOTHER
    site.run(f"farrier-release rollback knee {first}")


def client(site: Site) -> httpx.AsyncClient:
    trust = ssl.create_default_context(cafile=str(site.ca))
    return httpx.AsyncClient(base_url=site.url, verify=trust, timeout=60, limits=httpx.Limits(max_connections=None))


def test_followers_are_told_every_state_while_redis_restarts_and_a_release_goes_live(site: Site, another: str) -> None:
    async def all_of_it() -> set[tuple[str, ...]]:
        with ExitStack() as hold:
            hold.enter_context(site.jobs_held())
            first, second = site.submit(), site.submit()
            site.until(lambda: site.held() > 0, "the first job's step to be held")
            async with asyncio.timeout(120), following([second] * MANY, lambda: client(site)) as followers:
                site.run("systemctl restart knee-redis")
                going = f"farrier-release deploy knee {another} --who test"
                release = asyncio.create_task(asyncio.to_thread(site.run, going))
                await until(lambda: all(each.opened > 1 for each in followers), 60)
                await asyncio.to_thread(hold.close)
            await release
            assert site.wait_for(first)["status"] == "complete"
        return {tuple(each.states) for each in followers}

    assert asyncio.run(all_of_it()) == {("queued", "processing", "complete")}
