"""A whole site whose ledger is on a PostgreSQL server."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from app.core.ledger import Place
from tests.unit.app.places import environment_of
from tests.unit.app.running_site import Site, holding_pipeline, is_running, wait_for


@pytest.fixture
def kind() -> str:
    return "server"


@pytest.fixture
def pipeline(tmp_path: Path) -> dict[str, Any]:
    return holding_pipeline(tmp_path)


@pytest.fixture
def environment(place: Place, tmp_path: Path) -> dict[str, str]:
    """What makes a site's processes use the server."""
    there = environment_of(place, tmp_path)
    password = Path(there["CREDENTIALS_DIRECTORY"], "ledger-password").read_text()
    (tmp_path / "credentials/ledger-password").write_text(password + "\n")
    return {"FARRIER_LEDGER_URL": there["FARRIER_LEDGER_URL"]}


def test_jobs_are_done_cancelled_and_begun_again(site: Site, environment: dict[str, str]) -> None:
    starts = site.folder / "starts"

    def started(number: int) -> int:
        lines = wait_for(lambda: starts.exists() and starts.read_text().split()[number - 1 :], f"start {number}")
        return int(lines[0])

    site.stop("web")
    site.environment |= environment
    site.start_web()
    site.start_worker()
    cancelled, job = site.upload(), site.upload()
    step = started(1)
    assert site.post(f"/cancel/{cancelled}").json()["error_code"] == "CANCELLED"
    wait_for(lambda: not is_running(step), "the end of the cancelled step")
    started(2)
    os.killpg(site.processes["worker"].pid, signal.SIGKILL)
    site.processes.pop("worker").wait()
    site.start_worker()
    started(3)
    (site.folder / "go").touch()
    assert site.wait_status(job, "complete")["summary"] == {"held": True}
