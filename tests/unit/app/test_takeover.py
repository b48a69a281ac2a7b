"""An older installation's results come along whole, once, and without a change to where they were."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.core.disk import sync
from app.core.service import Service, open_service
from app.knee import takeover
from app.knee.takeover import take_over
from tests.unit.app.places import REPOSITORY

FIRST, SECOND, THIRD = "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "b" * 32, "c" * 32
PLAIN = FIRST.replace("-", "")


def a_zip(text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("metrics.json"), text)  # without the time of the test
    return buffer.getvalue()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Two results in the two known places; a third job has only its original."""
    folder = tmp_path / "old"
    (folder / "results" / SECOND / "out").mkdir(parents=True)
    (folder / "results" / f"{FIRST}.zip").write_bytes(a_zip("1"))
    (folder / "results" / SECOND / "out" / "knee.zip").write_bytes(a_zip("2"))
    os.utime(folder / "results" / f"{FIRST}.zip", (1_700_000_000, 1_700_000_000))
    for job in (FIRST, THIRD):
        (folder / "uploads" / job).mkdir(parents=True)
        (folder / "uploads" / job / "Quidditch.nii.gz").write_bytes(b"scan")
    return folder


@pytest.fixture
def service(environment: dict[str, str]) -> Service:
    return open_service(environment)


def state_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_a_dry_run_counts_and_changes_nothing(old: Path, service: Service, environment: dict[str, str]) -> None:
    site = Path(environment["FARRIER_STATE"])
    before = state_of(old), state_of(site)
    report = take_over(old, service, dry_run=True)
    assert set(report.taken) == {PLAIN, SECOND}
    assert report.taken[PLAIN] == hashlib.sha256(a_zip("1")).hexdigest()
    assert (report.originals, report.without_result, report.unknown) == (2, [THIRD], [])
    assert state_of(old) == before[0]
    assert not (site / "results").exists()
    assert service.jobs.find(PLAIN) is None


def test_results_are_served_under_their_old_links_and_the_source_stays(
    old: Path, service: Service, client: TestClient
) -> None:
    before = state_of(old)
    report = take_over(old, service)
    assert report.is_whole
    for link, content in ((FIRST, a_zip("1")), (PLAIN, a_zip("1")), (SECOND, a_zip("2"))):
        assert client.get(f"/status/{link}").json()["status"] == "complete"
        assert client.get(f"/download/{link}").content == content
    job = service.jobs.find(PLAIN)
    assert job is not None
    assert (job.ended_wall, job.expires_wall is not None and job.expires_wall > 1_700_000_000 + 86400) == (1.7e9, True)
    assert state_of(old) == before
    assert service.jobs.mean("knee") == 240
    again = take_over(old, service)
    assert (again.taken, sorted(again.there), again.is_whole) == ({}, sorted([PLAIN, SECOND]), True)


def test_a_run_that_was_cut_is_finished_by_the_next(
    old: Path, service: Service, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies_at_second(path: Path) -> None:
        if SECOND in str(path):
            raise KeyboardInterrupt
        sync(path)

    with monkeypatch.context() as patch:
        patch.setattr(takeover, "sync", dies_at_second)
        with pytest.raises(KeyboardInterrupt):
            take_over(old, service)
    assert client.get(f"/status/{SECOND}").status_code == 404
    report = take_over(old, service)
    assert (set(report.taken), report.there) == ({SECOND}, [PLAIN])
    assert client.get(f"/download/{SECOND}").content == a_zip("2")


@pytest.mark.parametrize(
    "strange",
    [
        "notes.txt",
        "results/17.zip",
        "results/dddddddddddddddddddddddddddddddd.zip",
        "uploads/17/scan.nii",
        "db/jobs.db",
    ],
)
def test_what_is_not_known_is_listed_and_keeps_the_whole_from_beginning(
    old: Path, service: Service, strange: str
) -> None:
    (old / strange).parent.mkdir(parents=True, exist_ok=True)
    (old / strange).write_bytes(b"what is this")
    report = take_over(old, service)
    assert len(report.unknown) == 1
    assert str(old / strange).startswith(str(report.unknown[0]))
    assert (report.taken, service.jobs.find(PLAIN)) == ({}, None)
    assert set(take_over(old, service, skip_unknown=True).taken) == {PLAIN, SECOND}


def test_links_are_not_followed(old: Path, service: Service, tmp_path: Path) -> None:
    secret = tmp_path / "secret.zip"
    secret.write_bytes(a_zip("secret"))
    (old / "results" / f"{THIRD}.zip").symlink_to(secret)
    assert take_over(old, service).unknown == [old / "results" / f"{THIRD}.zip"]


def test_another_result_under_the_same_number_is_told_and_not_overwritten(
    old: Path, service: Service, client: TestClient
) -> None:
    take_over(old, service)
    (old / "results" / f"{FIRST}.zip").write_bytes(a_zip("other"))
    report = take_over(old, service)
    assert (report.differing, report.is_whole) == ([PLAIN], False)
    assert client.get(f"/download/{FIRST}").content == a_zip("1")


def test_the_command_tells_what_it_did(old: Path, environment: dict[str, str]) -> None:
    base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "app.knee.takeover", str(old)]
    done = subprocess.run(command, env=base | environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{PLAIN} sha256 {hashlib.sha256(a_zip('1')).hexdigest()}" in done.stdout
    assert "2 results taken over" in done.stdout
    (old / "notes.txt").touch()
    done = subprocess.run(command, env=base | environment, check=False, capture_output=True, text=True)
    assert (done.returncode, "nothing was taken over" in done.stdout) == (1, True)
