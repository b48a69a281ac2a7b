"""`farrier deploy`, `rollback` and `status` against a real host."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.site import ROOT, Site, deploy

FARRIER = Path(sys.executable).parent / "farrier"
DEMO = ROOT / "inventory" / "demo"


def farrier(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person does."""
    command = [str(FARRIER), *arguments]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT, env=os.environ | environment, timeout=120
    )


def active(site: Site) -> str:
    """The release of hello that is live."""
    return str(json.loads(site.run("farrier-release status --json hello"))["hello"]["active"])


def history(site: Site) -> dict[str, Any]:
    """The last line of hello's history."""
    last: dict[str, Any] = json.loads(site.run("farrier-release history hello --json"))[-1]
    return last


@pytest.fixture
def production(site: Site, tmp_path: Path) -> str:
    """An inventory that puts the host into the group production."""
    folder = tmp_path / "inventory"
    folder.mkdir()
    shutil.copytree(DEMO / "group_vars", folder / "group_vars")
    (folder / "demo").write_text(f'#!/bin/sh\nexec {sys.executable} {DEMO / "testbed.py"} "$@"\n')
    (folder / "demo").chmod(0o755)
    (folder / "production.yml").write_text(f"production: {{hosts: {{{site.host.name}: }}}}\n")
    return str(folder)


@pytest.fixture
def another_release(site: Site) -> Iterator[str]:
    """A release of hello that differs from what this tree would deploy is live; at the end this tree's is again."""
    before, other = active(site), "29990101T000000Z-other"
    site.run(
        f"cd /opt/farrier/hello/releases && rm -rf {other} && cp -r {before} {other} && "
        f"sed -i 's/^Description=.*/Description=another/' {other}/units/hello-web.service"
    )
    site.run(f"farrier-release deploy hello {other}")
    yield other
    if active(site) != before:
        site.run(f"farrier-release rollback hello {before}")
    site.run(f"rm -r /opt/farrier/hello/releases/{other}")


def test_nothing_to_do_is_said_and_no_secret_is_left_on_the_controller(site: Site) -> None:
    assert deploy(site.host).code == 0  # other tests leave other releases
    done = farrier("deploy", "-i", "inventory/demo", "-l", site.host.name, "--json", SOME_TOKEN="token-of-a-person")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["result"] == told["hosts"][site.host.name]["result"] == "unchanged"
    assert told["hosts"][site.host.name]["changed"] == []
    assert f"{site.host.name}: nothing to do" in done.stderr
    secrets = site.run("find /etc/farrier -path '*/credentials/*' -type f -exec cat {} + | tr -s ' ' '\\n'").split()
    secrets = [secret for secret in secrets if len(secret) >= 20] + ["token-of-a-person"]
    assert len(secrets) > 3
    kept = [path for path in (ROOT / "build" / "runner").rglob("*") if path.is_file()] + [Path(told["log"])]
    for path in kept:
        text = path.read_text(errors="replace")
        assert not [path for secret in secrets if secret in text]
    assert Path(told["log"]).stat().st_mode & 0o777 == 0o600


def test_a_host_that_cannot_be_reached_and_one_that_is_unknown(site: Site, tmp_path: Path) -> None:
    away = tmp_path / "hosts.yml"
    away.write_text("hosts: {hosts: {away: {ansible_host: 127.0.0.1, ansible_port: 9}}}\n")
    assert farrier("deploy", "-i", str(away), "-l", "away").returncode == 4
    shown = farrier("status", "-i", str(away))
    assert shown.returncode == 4
    assert "away" in shown.stdout
    assert "cannot be reached" in shown.stdout
    unknown = farrier("deploy", "-i", "inventory/demo", "-l", f"no-{site.host.name}")
    assert unknown.returncode == 2
    assert f"Could not match supplied host pattern, ignoring: no-{site.host.name}" in unknown.stdout


def test_production_is_guarded_and_the_way_back_needs_no_plan(
    site: Site, production: str, another_release: str
) -> None:
    here = ("-i", production, "-l", site.host.name)
    before = site.fingerprint()
    refused = farrier("deploy", *here)
    assert refused.returncode == 2, refused.stdout
    assert "channel 'unstable' is not for production" in refused.stdout
    assert "farrier deploy --reason" in refused.stdout
    assert site.fingerprint() == before

    # With a reason it goes; interrupted while the host goes live, the host carries on by itself.
    run = subprocess.Popen(
        [str(FARRIER), "deploy", *here, "--reason", "a test of the guard"], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    deadline = time.monotonic() + 60
    while active(site) == another_release and run.poll() is None and time.monotonic() < deadline:
        pass
    run.send_signal(signal.SIGINT)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 130, output
    assert f"{site.host.name}: hello:" in output.splitlines()[-2] + output.splitlines()[-1]
    site.run("timeout 60 sh -c 'until farrier-release history hello | tail -1 | grep -q guard; do sleep 0.2; done'")
    entry = history(site)
    assert entry["result"] == "done"
    assert entry["reason"] == "a test of the guard"
    assert "@" in entry["who"]

    back = farrier("rollback", *here, "hello", "--reason", "worse", "--json")
    assert back.returncode == 0, back.stdout + back.stderr
    assert json.loads(back.stdout)["hosts"][site.host.name]["release"] == another_release == active(site)
    assert history(site)["reason"] == "worse"
    shown = farrier("status", *here, "hello")
    assert shown.returncode == 0, shown.stderr
    assert another_release in shown.stdout
    assert "ready" in shown.stdout
    assert farrier("rollback", *here, "hello", "29990101T000000Z-none").returncode == 2
