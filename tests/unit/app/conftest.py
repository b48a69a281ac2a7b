from __future__ import annotations

import locale
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import URL

from app.core.ledger import Clock, Database, Jobs, Place, Workers, boot_clock, open_database
from app.core.ledger.migrate import Migration, migrate
from app.core.ledger.tables import metadata
from app.knee.web import create_app
from tests.unit.app.migrations import new_ledger
from tests.unit.app.postgres import Server, running_server
from tests.unit.app.running_site import Site, knee_pipeline, site_environment
from tests.unit.app.uploads import LIMIT


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def server_ledger(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> URL:
    """A ledger on the server. Tests share it, because making a database takes longer than most of them."""
    url = postgres.new_database()
    migrate(Migration(url, tmp_path_factory.mktemp("snapshots")))
    return url


@pytest.fixture
def kind() -> str:
    """Where the ledger is; a module that is about the ledger itself overrides this with BOTH."""
    return "file"


@pytest.fixture
def place(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A ledger without jobs."""
    if kind == "file":
        return new_ledger(tmp_path / "ledger")
    server: Server = request.getfixturevalue("postgres")
    url: URL = request.getfixturevalue("server_ledger")
    tables = ", ".join(metadata.tables)
    server.execute(f"TRUNCATE {tables} RESTART IDENTITY", str(url.database))
    return url


@pytest.fixture
def database(place: Place) -> Iterator[Database]:
    opened = open_database(place)
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


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a site without Redis and worker, so that every upload is accepted but waits."""
    values = site_environment(tmp_path, knee_pipeline()) | {"FARRIER_UPLOAD_LIMIT": str(LIMIT)}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


@pytest.fixture
def app(environment: dict[str, str]) -> FastAPI:
    del environment
    return create_app()


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def site_jobs(environment: dict[str, str]) -> Jobs:
    return Jobs(open_database(Path(environment["FARRIER_STATE"]) / "ledger"), boot_clock())
