"""The main job: a scan goes in at the front door, volumes come out."""

from __future__ import annotations

import json

import pytest

from tests.e2e.site import PHANTOM, Site

TRUTH = json.loads(PHANTOM.with_suffix("").with_suffix(".json").read_text())["volumes_mm3"]


def test_a_scan_becomes_volumes_within_five_per_cent(site: Site) -> None:
    job = site.submit()
    site.wait_for(job)
    measured = site.volumes(job)
    assert set(TRUTH) <= set(measured)
    for tissue, volume in TRUTH.items():
        assert measured[tissue] == pytest.approx(volume, rel=0.05), tissue


def test_a_file_that_is_no_scan_is_refused(site: Site) -> None:
    with site.client() as client:
        answer = client.post("/upload", files={"file": ("notes.txt", b"no scan")})
    assert answer.status_code == 400
    assert ".nii" in answer.text


def test_ready_says_what_is_missing_and_nothing_restarts(site: Site) -> None:
    before = site.run("systemctl show --property=MainPID,NRestarts knee-web knee-worker@0")
    site.run("systemctl stop knee-redis")
    try:
        with site.client() as client:
            assert client.get("/health/live").status_code == 200
            answer = client.get("/health/ready")
        assert answer.status_code == 503
        assert "redis" in answer.text
    finally:
        site.run("systemctl start knee-redis")
    site.wait_until_serving()
    assert site.run("systemctl show --property=MainPID,NRestarts knee-web knee-worker@0") == before


def test_hello_is_served_beside_knee(site: Site) -> None:
    with site.client() as client:
        assert client.get("/hello").text.startswith("Hello")
        assert "<html" in client.get("/").text


def test_a_probes_header_from_outside_names_no_worker(site: Site) -> None:
    with site.client() as client:
        assert "x-farrier-worker" not in client.get("/health/live", headers={"x-farrier-probe": "1"}).headers
