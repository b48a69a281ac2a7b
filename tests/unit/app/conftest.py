from __future__ import annotations

import locale
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.core.ledger import Clock, Database, Jobs, Workers, open_database
from tests.unit.app.migrations import new_ledger
from tests.unit.app.running_site import Site, site_environment


class FakeTime:
    """Seconds that a test moves on."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(autouse=True, scope="module")
def _keep_locale() -> Iterator[None]:
    """Reading DICOM sets the process' locale to C, and files of later tests would be taken for ASCII."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def clock(time: FakeTime) -> Clock:
    return Clock("boot-a", time, time)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(new_ledger(tmp_path / "ledger"))
    yield opened
    opened.close()


@pytest.fixture
def jobs(database: Database, clock: Clock) -> Jobs:
    return Jobs(database, clock)


@pytest.fixture
def workers(database: Database, clock: Clock) -> Workers:
    return Workers(database, clock)


@pytest.fixture
def pipeline() -> dict[str, Any]:
    """The pipeline of the site under test; a module gives its own by overriding this."""
    raise NotImplementedError


@pytest.fixture
def site(tmp_path: Path, pipeline: dict[str, Any]) -> Iterator[Site]:
    if shutil.which("redis-server") is None:
        pytest.fail("redis-server is not installed: apt-get install redis-server")
    running = Site(tmp_path, site_environment(tmp_path, pipeline))
    running.start_redis()
    running.start_web()
    yield running
    running.close()
