"""The site's answers, without Redis and worker: so every upload here is accepted but waits."""

from __future__ import annotations

import errno
import gzip
import sqlite3
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

from app.core.ledger import Jobs, Workers, boot_clock, open_database
from app.core.ledger.sqlite import FILE
from app.core.storage import Storage
from app.knee.web import create_app
from tests.unit.app.running_site import PHANTOM, TOKEN
from tests.unit.app.scans import nifti
from tests.unit.app.uploads import LIMIT, upload, uploads

PART = b"--x\r\nContent-Disposition: form-data; %s\r\n\r\n"
FORM = "multipart/form-data; boundary=x"


def test_upload_is_accepted_and_waits(client: TestClient, environment: dict[str, str]) -> None:
    status, first = upload(client, "knee.nii.gz", PHANTOM.read_bytes())
    assert status == 201
    assert set(first) == {"job_id", "status", "queue_position", "estimated_wait_seconds", "message"}
    assert (first["status"], first["queue_position"], first["estimated_wait_seconds"]) == ("queued", 1, 240)
    _, second = upload(client, "knee.nii.gz", PHANTOM.read_bytes())
    assert (second["queue_position"], second["estimated_wait_seconds"]) == (2, 480)
    asked = client.get(f"/status/{second['job_id']}").json()
    waits = {"estimated_wait": 480, "estimated_wait_seconds": 480}
    assert asked == {"job_id": second["job_id"], "status": "queued", "queue_position": 2, **waits}
    stored = Path(environment["FARRIER_STATE"]) / "uploads" / first["job_id"] / "input.nii.gz"
    assert gzip.decompress(stored.read_bytes())[352:] == gzip.decompress(PHANTOM.read_bytes())[352:]  # the voxels


@pytest.mark.parametrize(
    ("data", "status", "text"),
    [
        ({"smoothing": "2"}, 201, ""),
        ({"smoothing": ""}, 201, ""),
        ({"smoothing": "3"}, 400, "smoothing: '3' is not allowed; give a number from 0 to 2"),
        ({"smoothing": "nan"}, 400, "smoothing: 'nan' is not allowed"),
        ({"segmentation_model": "nnunet_fullres"}, 400, "segmentation_model: 'nnunet_fullres' is not installed here"),
        ({"smooth": "1"}, 400, "smooth: there is no such option"),
        ({"smoothing": "x" * 70_000}, 400, "too long"),
    ],
)
def test_options(client: TestClient, site_jobs: Jobs, data: dict[str, str], status: int, text: str) -> None:
    code, body = upload(client, "a.nii", nifti(10, 11, 12), data=data)
    assert (code, text in body.get("detail", "")) == (status, True), body
    if code == 201:
        job = site_jobs.find(body["job_id"])
        assert job is not None
        assert job.options["smoothing"] == int(data["smoothing"] or "1")


@pytest.mark.parametrize(
    ("content", "kind", "text"),
    [
        (b"{}", "application/json", "as a form"),
        (b"", "multipart/form-data", "as a form"),
        (b"rubbish", FORM, "cannot be read"),
        (PART % b'name="file"; filename="a.nii"' + b"abc", FORM, "cut off"),
        (PART % b'name="a"' + b"abc\r\n--x--\r\n", FORM, "no file"),
        (PART % b'name="a"; filename="a.nii"', FORM, "exactly one file"),
        (b"--x\r\n" + b"A" * 20_000 + b": b\r\n\r\n", FORM, "cannot be read"),
    ],
)
def test_broken_forms_are_refused(
    client: TestClient, environment: dict[str, str], content: bytes, kind: str, text: str
) -> None:
    answer = client.post("/upload", content=content, headers={"content-type": kind})
    assert (answer.status_code, text in answer.json()["detail"]) == (400, True), answer.text
    assert uploads(environment) == []


def test_file_over_the_limit_is_refused_with_and_without_announcement(
    client: TestClient, environment: dict[str, str]
) -> None:
    status, body = upload(client, "a.nii", nifti(10, 11, 12) + bytes(LIMIT))
    assert (status, "larger than" in body["detail"]) == (413, True)
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.nii"\r\n\r\n'
    chunks = (part for part in [head, *[bytes(65536)] * (LIMIT // 65536 + 2), b"\r\n--x--\r\n"])
    answer = client.post("/upload", content=chunks, headers={"content-type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 413
    assert uploads(environment) == []


def test_full_disk_is_told_before_the_upload(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Storage, "free", lambda _: 1000)
    status, body = upload(client, "a.nii", nifti(10, 11, 12))
    assert (status, "no room" in body["detail"]) == (507, True)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 507),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 507),
        (OperationalError("insert", {}, Exception("database or disk is full")), 503),
        (OSError(errno.EIO, "broken"), 500),
    ],
)
def test_trouble_while_accepting_is_told_and_leaves_nothing(
    client: TestClient, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Jobs, "submit", fail)
    answer = client.post("/upload", files={"file": ("a.nii", nifti(10, 11, 12))})
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) is (status != 500)
    assert uploads(environment) == []


def test_job_is_shown_through_its_states(client: TestClient, site_jobs: Jobs, environment: dict[str, str]) -> None:
    job_id = upload(client, "a.nii", nifti(10, 11, 12))[1]["job_id"]
    assert client.get(f"/download/{job_id}").status_code == 400
    job = site_jobs.claim_next(["knee"], "w", 30)
    assert job is not None
    site_jobs.progress(job, percent=50, step=2, steps=2, step_name="measure")
    running = client.get(f"/status/{job_id}").json()
    assert (running["status"], running["progress_percent"], running["step_name"]) == ("processing", 50, "measure")
    assert (running["current_step"], running["total_steps"]) == (2, 2)
    assert {"elapsed", "estimated_remaining"} < set(running)
    storage = Storage(Path(environment["FARRIER_STATE"]))
    produced = storage.begin_work(job.id, 1) / "results"
    produced.mkdir()
    site_jobs.publish(job, size=storage.pack_result(job.id, 1, produced), summary={"volumes_mm3": {"femur": 1.0}})
    done = client.get(f"/status/{job_id}").json()
    assert (done["status"], done["download_url"]) == ("complete", f"/download/{job_id}")
    download = client.get(done["download_url"])
    assert (download.status_code, len(download.content)) == (200, done["result_size_bytes"])
    assert f"knee-{job_id[:8]}.zip" in download.headers["content-disposition"]
    storage.drop(job_id)
    assert client.get(f"/download/{job_id}").status_code == 404


def test_failed_job_tells_message_and_code(client: TestClient, site_jobs: Jobs) -> None:
    job_id = upload(client, "a.nii", nifti(10, 11, 12))[1]["job_id"]
    job = site_jobs.claim_next(["knee"], "w", 30)
    assert job is not None
    site_jobs.fail(job, code="TIMEOUT", message="too slow")
    expected = {"job_id": job_id, "status": "error", "error_message": "too slow", "error_code": "TIMEOUT"}
    assert client.get(f"/status/{job_id}").json() == expected


def test_waiting_and_running_jobs_are_cancelled_and_told_so(client: TestClient, site_jobs: Jobs) -> None:
    running, waiting, next_one = (upload(client, "a.nii", nifti(10, 11, 12))[1]["job_id"] for _ in range(3))
    job = site_jobs.claim_next(["knee"], "w", 30)
    assert job is not None
    for job_id in (running, waiting):
        answer = client.post(f"/cancel/{job_id}")
        told = {"status": "error", "error_message": "The job was cancelled.", "error_code": "CANCELLED"}
        assert (answer.status_code, answer.json()) == (200, {"job_id": job_id, **told})
        assert client.get(f"/status/{job_id}").json() == answer.json()
        assert client.post(f"/cancel/{job_id}").json() == answer.json(), "a second time changes nothing"
        assert client.get(f"/download/{job_id}").status_code == 400
    assert client.get(f"/status/{next_one}").json()["queue_position"] == 1
    assert site_jobs.let_go(job)
    assert client.post(f"/cancel/{running}").status_code == 200


@pytest.mark.parametrize(("state", "end"), [("done", "publish"), ("failed", "fail")])
def test_job_that_has_ended_cannot_be_cancelled(client: TestClient, site_jobs: Jobs, state: str, end: str) -> None:
    job_id = upload(client, "a.nii", nifti(10, 11, 12))[1]["job_id"]
    job = site_jobs.claim_next(["knee"], "w", 30)
    assert job is not None
    assert (
        site_jobs.publish(job, size=1, summary={}) if end == "publish" else site_jobs.fail(job, code="X", message="x")
    )
    before = client.get(f"/status/{job_id}").json()
    answer = client.post(f"/cancel/{job_id}")
    assert (answer.status_code, f"has ended already ({state})" in answer.json()["detail"]) == (409, True)
    assert client.get(f"/status/{job_id}").json() == before


def test_unknown_job_cannot_be_cancelled(client: TestClient) -> None:
    assert client.post("/cancel/" + "0" * 32).status_code == 404


@pytest.mark.parametrize("path", ["/status/" + "0" * 32, "/download/" + "0" * 32, "/status/..%2f..%2fetc", "/nothing"])
def test_unknown_is_404_as_json(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, list(answer.json())) == (404, ["detail"])


def test_verify_token_must_be_right(client: TestClient, site_jobs: Jobs) -> None:
    status, body = upload(client, "a.nii", nifti(10, 11, 12), headers={"x-farrier-verify": "guess"})
    assert (status, "token" in body["detail"]) == (403, True)
    _, body = upload(client, "a.nii", nifti(10, 11, 12), headers={"x-farrier-verify": TOKEN})
    job = site_jobs.find(body["job_id"])
    assert job is not None
    assert job.verify


def test_ready_names_what_is_missing(
    client: TestClient, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    answer = client.get("/health/ready")
    body = answer.json()
    assert (answer.status_code, body["status"], body["missing"]) == (503, "not ready", ["redis", "worker:knee"])
    assert body["checks"]["ledger"] == body["checks"]["disk"] == "ok"
    assert "no live worker serves the queue knee" in body["checks"]["worker:knee"]
    Workers(open_database(Path(environment["FARRIER_STATE"]) / "ledger"), boot_clock()).beat("w", ["knee"], 30)
    assert client.get("/health/ready").json()["missing"] == ["redis"]
    monkeypatch.setattr(Storage, "free", lambda _: 1000)
    assert client.get("/health/ready").json()["missing"] == ["redis", "disk"]
    short = client.get("/health")
    assert (short.status_code, short.json()["status"], short.json()["worker"]) == (503, "unhealthy", "available")
    assert set(short.json()) == {"status", "redis", "worker", "gpu", "timestamp", "error"}


def test_job_that_nobody_cut_at_its_limits_is_named(
    client: TestClient, site_jobs: Jobs, environment: dict[str, str]
) -> None:
    _, body = upload(client, "a.nii", nifti(10, 11, 12))
    assert site_jobs.claim_next(["knee"], "w 1 1 1", 5000.0) is not None
    assert client.get("/health/ready").json()["checks"]["jobs"] == "ok"
    with sqlite3.connect(Path(environment["FARRIER_STATE"]) / "ledger" / FILE) as ledger:
        ledger.execute("UPDATE jobs SET started_at = started_at - 4000")
    said = client.get("/health/ready").json()
    assert "jobs" in said["missing"]
    assert body["job_id"] in said["checks"]["jobs"]


def test_ledger_that_takes_no_write_is_not_ready(client: TestClient, environment: dict[str, str]) -> None:
    with sqlite3.connect(Path(environment["FARRIER_STATE"]) / "ledger" / FILE) as ledger:
        ledger.execute("CREATE TRIGGER full BEFORE INSERT ON leases BEGIN SELECT RAISE(FAIL, 'disk full'); END")
    assert "disk full" in client.get("/health/ready").json()["checks"]["ledger"]


def test_page_comes_whole_from_the_site_itself(client: TestClient) -> None:
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text
    for name in ("app.js", "style.css", "icon.svg"):
        assert f'"static/{name}"' in page.text
        assert client.get(f"/static/{name}").status_code == 200


def test_answers_about_jobs_are_not_cached(client: TestClient) -> None:
    assert client.get("/status/" + "0" * 32).headers["cache-control"] == "no-store"


def test_stack_without_the_pipeline_does_not_start(environment: dict[str, str]) -> None:
    Path(environment["FARRIER_PIPELINES"]).write_text("{}")
    with pytest.raises(ValueError, match="no pipeline 'knee'"):
        create_app()
