"""Schemathesis against the real site: whatever it sends, every answer is one that /openapi.json describes."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.app.places import REPOSITORY
from tests.unit.app.running_site import Site, knee_pipeline, wait_for

SETTINGS = Path(__file__).with_name("schemathesis.toml")


@pytest.fixture
def pipeline() -> dict[str, Any]:
    return knee_pipeline() | {"steps": []}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def serve(site: Site) -> str:
    """The site on a port of its own, which schemathesis needs; gives its address once all of it is ready."""
    port = free_port()
    site.start_worker()
    app = [sys.executable, "-m", "uvicorn", "--factory", "app.knee.web:create_app"]
    site._start("api", [*app, "--port", str(port), "--log-level", "warning"])
    address = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        try:
            return httpx.get(f"{address}/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    wait_for(ready, "the site on its port")
    return address


def attack(address: str, folder: Path, examples: int) -> subprocess.CompletedProcess[str]:
    """Run schemathesis with all its checks and phases; an endpoint gets up to `examples` requests a phase."""
    program = [str(Path(sys.executable).with_name("schemathesis")), f"--config-file={SETTINGS}", "run"]
    options = ["--checks=all", f"--max-examples={examples}", "--seed=5", "--generation-database=none"]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(REPOSITORY),
        "SCHEMATHESIS_HOOKS": "tests.unit.app.api_hooks",
    }
    command = [*program, f"{address}/openapi.json", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)


def check(site: Site, folder: Path, examples: int) -> None:
    done = attack(serve(site), folder, examples)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    tested = re.search(r"Tested: (\d+)", done.stdout)
    assert tested is not None
    assert int(tested[1]) >= 10
    print(done.stdout[done.stdout.index("SUMMARY") :])


def test_schemathesis_finds_nothing(site: Site, tmp_path: Path) -> None:
    check(site, tmp_path, 5)


@pytest.mark.slow
def test_schemathesis_finds_nothing_in_a_long_run(site: Site, tmp_path: Path) -> None:
    check(site, tmp_path, 200)
