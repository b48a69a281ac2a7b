"""The contract besides files and jobs: form, models, figures, limits, and what the site says of itself."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient

from app.core.ledger import Jobs
from app.core.multipart import Form
from app.core.rate import client_hash, retry_after
from app.core.service import open_service
from app.core.storage import new_job_id
from app.knee.upload import _accept
from app.knee.web import create_app
from tests.unit.app.running_site import TOKEN, knee_pipeline
from tests.unit.app.scans import nifti
from tests.unit.app.uploads import upload, uploads

SCAN = nifti(10, 11, 12)
OTHER = {
    "segmentation_model": {"type": "choice", "default": "second", "choices": ["second", "third"], "title": "Model"}
}


def declare(environment: dict[str, str], **pipelines: dict[str, Any]) -> TestClient:
    """A site with these pipelines."""
    Path(environment["FARRIER_PIPELINES"]).write_text(json.dumps(pipelines))
    return TestClient(create_app())


def test_form_models_and_description_come_from_the_stack_file(client: TestClient) -> None:
    options = knee_pipeline()["options"]
    models = client.get("/models").json()
    assert models["segmentation_models"] == options["segmentation_model"]["choices"]
    assert models["nsm_types"] == ["bone_and_cart", "bone_only", "both", "none"]
    assert models["defaults"] == {name: option["default"] for name, option in options.items()}
    assert models["ranges"]["batch_size"] == {"min": 1, "max": 256}
    assert models["ranges"]["cartilage_smoothing"] == {"min": 0, "max": 2}
    assert (models["defaults"]["cartilage_smoothing"], models["defaults"]["batch_size"]) == (0.4, 128)
    schema = client.get("/openapi.json").json()["paths"]["/upload"]["post"]["requestBody"]["content"]
    fields = schema["multipart/form-data"]["schema"]["properties"]
    assert set(fields) == {"file", "email", "retain_results", *options}


def test_default_of_the_model_is_one_that_is_installed(client: TestClient, site_jobs: Jobs) -> None:
    models = client.get("/models").json()
    assert models["defaults"]["segmentation_model"] in models["segmentation_models"]
    for model in (None, models["defaults"]["segmentation_model"]):
        _, body = upload(client, "a.nii", SCAN, data={"segmentation_model": model} if model else {})
        job = site_jobs.find(body["job_id"])
        assert job is not None
        assert job.options["segmentation_model"] == models["defaults"]["segmentation_model"]


def test_model_that_is_not_installed_is_refused_with_those_that_are(
    client: TestClient, environment: dict[str, str]
) -> None:
    code, body = upload(client, "a.nii", SCAN, data={"segmentation_model": "goyal_axial"})
    installed = ", ".join(client.get("/models").json()["segmentation_models"])
    told = f"segmentation_model: 'goyal_axial' is not installed here; installed models: {installed}"
    assert (code, body) == (400, {"detail": told})
    assert uploads(environment) == []


def test_model_chooses_its_pipeline(environment: dict[str, str]) -> None:
    second = knee_pipeline() | {"title": "Other", "options": OTHER}
    client = declare(environment, other=second, knee=knee_pipeline())
    offered = client.get("/models").json()
    assert offered["segmentation_models"] == ["reference", "second", "third"]
    assert [each["name"] for each in offered["pipelines"]] == ["knee", "other"]
    assert offered["defaults"]["segmentation_model"] == "reference"
    assert upload(client, "a.nii", SCAN, data={"segmentation_model": "third"})[0] == 201
    code, body = upload(client, "a.nii", SCAN, data={"segmentation_model": "third", "batch_size": "1"})
    assert (code, "batch_size: there is no such option here" in body["detail"]) == (400, True)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"batch_size": "0"}, "batch_size: '0' is not allowed; give a number from 1 to 256"),
        ({"batch_size": "257"}, "batch_size: '257'"),
        ({"batch_size": "1.5"}, "batch_size: '1.5'"),
        ({"cartilage_smoothing": "2.1"}, "cartilage_smoothing: '2.1' is not allowed; give a number from 0 to 2"),
        ({"cartilage_smoothing": "inf"}, "cartilage_smoothing: 'inf'"),
        ({"perform_nsm": "maybe"}, "perform_nsm: 'maybe' is not allowed; give true or false"),
        ({"nsm_type": "all"}, "nsm_type: 'all' is not allowed; choose one of: bone_and_cart, bone_only, both, none"),
        ({"retain_results": "2"}, "retain_results: '2' is not allowed; give true or false"),
        ({"email": "somebody"}, "email: 'somebody' is no e-mail address"),
        ({"email": "a@b.example\r\nBcc: c@d.example"}, "is no e-mail address"),
        ({"email": "a" * 65 + "@b.example"}, "is no e-mail address"),
        ({"email": "a@" + "b" * 253}, "is no e-mail address"),
        ({"shoe_size": "44"}, "shoe_size: there is no such option here; this pipeline's options:"),
    ],
)
def test_wrong_value_is_refused_with_what_is_allowed(
    client: TestClient, environment: dict[str, str], data: dict[str, str], text: str
) -> None:
    code, body = upload(client, "a.nii", SCAN, data=data)
    assert (code, text in body["detail"]) == (400, True), body
    assert uploads(environment) == []


@pytest.mark.parametrize(("timer", "kept_email"), [("knee-mail.timer", "me@knee.example"), ("", None)])
@pytest.mark.usefixtures("environment")
def test_email_where_mail_is_sent_and_the_wish_to_keep_the_scan_reach_the_ledger(
    monkeypatch: pytest.MonkeyPatch, site_jobs: Jobs, timer: str, kept_email: str | None
) -> None:
    monkeypatch.setenv("FARRIER_MAIL_TIMER", timer)
    client = TestClient(create_app())
    _, kept = upload(client, "a.nii", SCAN, data={"email": " me@knee.example ", "retain_results": "on"})
    _, plain = upload(client, "a.nii", SCAN, data={"email": "", "retain_results": ""})
    jobs = [site_jobs.find(body["job_id"]) for body in (kept, plain)]
    assert [(job.email, job.keep_input) for job in jobs if job] == [(kept_email, True), (None, False)]


def test_stats_count_users_jobs_and_not_the_deploys(client: TestClient, site_jobs: Jobs) -> None:
    empty = client.get("/stats").json()
    assert empty["average_processing_time_seconds"] == 240
    upload(client, "a.nii", SCAN, headers={"x-farrier-verify": TOKEN})
    for _ in range(3):
        upload(client, "a.nii", SCAN)
    verify, done, failed = (site_jobs.claim_next(["knee"], "w", 30) for _ in range(3))
    assert verify is not None
    assert done is not None
    assert failed is not None
    site_jobs.publish(verify, size=1, summary={})
    site_jobs.publish(done, size=1, summary={})
    site_jobs.fail(failed, code="TIMEOUT", message="too slow")
    stats = client.get("/stats").json()
    assert (stats["total_jobs_processed"], stats["total_jobs_today"], stats["total_jobs_failed"]) == (1, 1, 1)
    assert (stats["jobs_in_queue"], stats["jobs_running"], stats["unique_users"]) == (1, 0, 1)
    assert stats["average_processing_time_seconds"] < 240


@pytest.mark.parametrize(
    ("submitted", "limit", "seconds"),
    [([], 0, None), ([1.0] * 50, 0, None), ([100.0], 2, None), ([100.0, 200.0], 2, 3500), ([100.0, 200.0], 1, 3600)],
)
def test_next_job_may_come_when_enough_have_left_the_hour(
    submitted: list[float], limit: int, seconds: int | None
) -> None:
    assert retry_after(submitted, limit, 200.0) == seconds


def test_address_over_its_rate_waits_others_and_the_deploy_do_not(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARRIER_RATE_LIMIT", "2")
    client = TestClient(create_app())
    first, second = {"x-forwarded-for": "192.0.2.1"}, {"x-forwarded-for": "192.0.2.2"}
    codes = [upload(client, "a.nii", SCAN, headers=first)[0] for _ in range(3)]
    assert codes == [201, 201, 429]
    answer = client.post("/upload", files={"file": ("a.nii", SCAN)}, headers=first)
    assert 3590 <= int(answer.headers["retry-after"]) <= 3600
    assert "2 jobs within an hour" in answer.json()["detail"]
    assert upload(client, "a.nii", SCAN, headers=second)[0] == 201
    assert upload(client, "a.nii", SCAN, headers=first | {"x-farrier-verify": TOKEN})[0] == 201
    assert len(uploads(environment)) == 4


def test_refused_uploads_do_not_count(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    del environment
    monkeypatch.setenv("FARRIER_RATE_LIMIT", "1")
    client = TestClient(create_app())
    # The last is refused unread.
    assert [upload(client, "a.nii", content)[0] for content in (b"", b"x", SCAN, b"")] == [400, 400, 201, 429]


def test_uploads_that_come_in_at_the_same_time_count_too(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del environment
    monkeypatch.setenv("FARRIER_RATE_LIMIT", "1")
    service = open_service(os.environ)
    ids = [new_job_id() for _ in range(2)]
    for job_id in ids:
        service.storage.begin_upload(job_id).write_bytes(SCAN)
    form = Form("a.nii", len(SCAN))
    _accept(service, ids[0], form, "somebody")
    with pytest.raises(HTTPException) as refused:
        _accept(service, ids[1], form, "somebody")
    assert refused.value.status_code == 429


def test_ledger_knows_no_address(client: TestClient, site_jobs: Jobs, environment: dict[str, str]) -> None:
    _, body = upload(client, "a.nii", SCAN, headers={"x-forwarded-for": "192.0.2.77"})
    assert site_jobs.find(body["job_id"]) is not None
    kept = [path.read_bytes() for path in Path(environment["FARRIER_STATE"]).rglob("*") if path.is_file()]
    assert not any(b"192.0.2.77" in content for content in kept)


def test_addresses_of_one_ipv6_network_count_as_one_and_the_key_matters() -> None:
    assert client_hash("2001:db8::1", "k") == client_hash("2001:db8::ffff", "k")
    assert client_hash("2001:db8::1", "k") != client_hash("2001:db8:1::1", "k")
    assert client_hash("192.0.2.1", "k") != client_hash("192.0.2.1", "l")


def test_every_file_of_the_docs_page_is_the_sites_own(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "://" not in page.text
    for path in ("docs/files/swagger-ui.css", "docs/files/swagger-ui-bundle.js", "docs/own/docs.js"):
        assert path in page.text
        assert client.get(f"/{path}").status_code == 200


def test_description_names_every_answer_of_the_contract(app: FastAPI) -> None:
    paths = app.openapi()["paths"]
    answers = {
        (method, path): set(operation["responses"])
        for path, methods in paths.items()
        for method, operation in methods.items()
    }
    assert answers["post", "/upload"] == {"201", "400", "403", "413", "429", "500", "503", "507"}
    assert answers["get", "/status/{job_id}"] == {"200", "404", "500", "503"}
    assert answers["get", "/download/{job_id}"] == {"200", "400", "404", "500", "503"}
    assert {("get", "/models"), ("get", "/stats"), ("get", "/health")} <= set(answers)
    assert "multipart/form-data" in paths["/upload"]["post"]["requestBody"]["content"]


def test_file_without_a_name_is_told(client: TestClient) -> None:
    answer = client.post("/upload", data={"file": "text"}, files={"email": (None, b"a@b.example")})
    assert (answer.status_code, "with its file name" in answer.json()["detail"]) == (400, True)
