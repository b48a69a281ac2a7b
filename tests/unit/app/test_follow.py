"""Everyone who follows a job is told each of its states, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from app.core.events import CHANNEL
from tests.unit.app.followers import Follower, following, until
from tests.unit.app.running_site import PASSWORD, TOKEN, Site, holding_pipeline, wait_for

MANY = 200
ALL = ["queued", "processing", "complete"]


@pytest.fixture
def pipeline(tmp_path: Path) -> dict[str, Any]:
    return holding_pipeline(tmp_path)


def client(site: Site) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(uds=str(site.folder / "web.sock"), limits=httpx.Limits(max_connections=None))
    return httpx.AsyncClient(transport=transport, base_url="http://knee.test", timeout=30)


def follow(site: Site, job: str, meanwhile: Callable[[], Coroutine[Any, Any, None]], many: int) -> list[Follower]:
    """What `many` followers of a job were told while it went through its life, and something else happened."""

    async def all_of_it() -> list[Follower]:
        async with asyncio.timeout(120), following([job] * many, lambda: client(site)) as followers:
            site.start_worker()
            await until(lambda: all(each.told[-1]["status"] == "processing" for each in followers))
            await meanwhile()
            (site.folder / "go").touch()
        return followers

    return asyncio.run(all_of_it())


async def nothing() -> None:
    return None


def test_followers_of_one_process_are_told_every_state(site: Site) -> None:
    assert {tuple(each.states) for each in follow(site, site.upload(), nothing, MANY)} == {tuple(ALL)}


def test_followers_miss_nothing_while_redis_is_away(site: Site) -> None:
    async def redis_goes() -> None:
        site.stop("redis", signal.SIGKILL)  # the job ends while no call can be made

    assert {tuple(each.states) for each in follow(site, site.upload(), redis_goes, MANY)} == {tuple(ALL)}


def test_followers_hear_a_redis_again_that_came_back(site: Site) -> None:
    async def redis_goes_and_comes() -> None:
        processes = listening(site)  # one or both: the kernel spreads the followers
        site.stop("redis")
        site.start_redis()
        await until(lambda: listening(site) == processes)

    followers = follow(site, site.upload(), redis_goes_and_comes, 20)
    assert {(each.opened, *each.states) for each in followers} == {(1, *ALL)}


def test_a_web_process_that_ends_lets_its_followers_go_and_they_miss_nothing(site: Site) -> None:
    async def web_restarts() -> None:
        site.stop("web", seconds=25)  # a stream that went on would hold it for gunicorn's 30 s
        (site.folder / "go").touch()  # the job ends while nobody can be told
        await until(lambda: any((site.folder / "state").glob("results/*/1/result.zip")))
        await asyncio.to_thread(site.start_web)

    followers = follow(site, site.upload(), web_restarts, 20)
    assert {tuple(each.states) for each in followers} == {tuple(ALL)}
    assert {each.opened for each in followers} == {2}


def test_followers_are_let_go_while_a_release_leads_past_their_process(site: Site) -> None:
    live = site.folder / "live.sock"
    live.symlink_to(site.folder / "web.sock")
    site.stop("web")
    site.environment |= {"FARRIER_SOCKET": str(site.folder / "web.sock"), "FARRIER_LIVE_SOCKET": str(live)}
    site.start_web()

    async def another_generation() -> None:
        live.unlink()
        live.symlink_to(site.folder / "next.sock")
        await until(lambda: all(each.opened > 1 for each in followers))

    async def all_of_it() -> None:
        async with asyncio.timeout(120), following([site.upload()] * 3, lambda: client(site)) as found:
            followers.extend(found)
            await another_generation()
            site.start_worker()
            (site.folder / "go").touch()

    followers: list[Follower] = []
    asyncio.run(all_of_it())
    assert {tuple(each.states) for each in followers} == {tuple(ALL)}


def test_who_comes_again_is_told_what_happened_since(site: Site) -> None:
    job = site.upload()
    site.start_worker()
    (site.folder / "go").touch()
    site.wait_status(job, "complete")
    assert states(site, job, last=None) == ["complete"]
    assert states(site, job, last="0") == ["processing", "complete"]
    with site.client() as http:
        assert http.get(f"/status/{job}/events", headers={"Last-Event-ID": "end"}).status_code == 204
        assert http.get(f"/status/{'0' * 32}/events").status_code == 404


def test_a_deleted_job_is_followed_no_more(site: Site) -> None:
    job = site.upload(headers={"x-farrier-verify": TOKEN})
    with site.client() as http, http.stream("GET", f"/status/{job}/events") as answer:
        lines = answer.iter_lines()
        assert any(line.startswith("data:") for line in lines)
        with site.client() as other:
            other.delete(f"/jobs/{job}", headers={"x-farrier-verify": TOKEN})
        assert not any(line.startswith("data:") for line in lines)


def test_followers_are_bounded_and_one_that_goes_makes_room(site: Site) -> None:
    site.stop("web")
    site.environment["FARRIER_FOLLOWERS"] = "1"
    site.start_web(processes=1)
    job = site.upload()
    with site.client() as http:
        with http.stream("GET", f"/status/{job}/events") as first:
            assert first.status_code == 200
            refused = site.get(f"/status/{job}/events")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        http.close()
    wait_for(lambda: is_followed(site, job), "room for another follower")


def is_followed(site: Site, job: str) -> bool:
    with site.client() as http, http.stream("GET", f"/status/{job}/events") as answer:
        return answer.status_code == 200


def states(site: Site, job: str, last: str | None) -> list[str]:
    with site.client() as http:
        text = http.get(f"/status/{job}/events", headers={"Last-Event-ID": last} if last else {}).text
    return [str(json.loads(line[6:])["status"]) for line in text.splitlines() if line.startswith("data: ")]


def listening(site: Site) -> int:
    """How many web processes hear the calls."""
    unix = site.environment["FARRIER_REDIS_SOCKET"]
    with redis.Redis(unix_socket_path=unix, username="app", password=PASSWORD) as client_:
        return int(client_.pubsub_numsub(CHANNEL)[0][1])
