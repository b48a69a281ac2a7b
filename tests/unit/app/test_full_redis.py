"""The disk of Redis is full, for real: it answers, and takes no message. Nothing ends, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.unit.app.disks import Disk, small_disk
from tests.unit.app.running_site import PASSWORD, Site, holding_pipeline, wait_for

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Where Redis will keep its data."""
    with small_disk(tmp_path / "redis") as disk:
        yield disk


@pytest.fixture
def pipeline(disk: Disk, tmp_path: Path) -> dict[str, Any]:
    del disk  # mounted before Redis starts
    return holding_pipeline(tmp_path)


def refuses(site: Site) -> bool:
    """Whether Redis refuses a write."""
    socket = site.environment["FARRIER_REDIS_SOCKET"]
    with redis.Redis(unix_socket_path=socket, username="app", password=PASSWORD) as client:
        try:
            client.set("test", "x" * 1000)
        except redis.ResponseError as error:
            return "MISCONF" in str(error)
    return False


def test_a_worker_waits_for_a_redis_whose_disk_is_full(site: Site, disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    site.start_worker()
    site.wait_status(site.upload(), "complete")
    disk.fill()
    wait_for(lambda: refuses(site), "a write that Redis refuses")
    job = site.upload()
    wait_for(lambda: "MISCONF" in (tmp_path / "worker.log").read_text(), "the worker hears of it")
    assert site.status(job)["status"] == "queued"
    disk.empty()
    site.wait_status(job, "complete")
    assert site.processes["worker"].poll() is None, "the worker ended"
