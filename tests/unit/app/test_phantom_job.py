"""A scan goes through the whole site and the real pipeline."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from typing import Any

import pytest

from tests.unit.app.running_site import FIXTURES, Site, knee_pipeline, wait_for


@pytest.fixture
def pipeline() -> dict[str, Any]:
    return knee_pipeline()


def test_phantom_goes_in_and_its_volumes_come_out(site: Site) -> None:
    site.start_worker()
    job = site.upload()
    done = site.wait_status(job, "complete")
    answer = site.get(done["download_url"])
    assert answer.headers["content-type"] == "application/zip"
    assert len(answer.content) == done["result_size_bytes"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert sorted(archive.namelist()) == ["labels.nii.gz", "metrics.csv", "metrics.json", "preview.png"]
        measured = json.loads(archive.read("metrics.json"))["volumes_mm3"]
    truth = json.loads((FIXTURES / "phantom.json").read_text())["volumes_mm3"]
    assert measured == done["summary"]["volumes_mm3"]
    assert measured == {name: pytest.approx(volume, rel=0.05) for name, volume in truth.items()}
    wait_for(lambda: not list((site.folder / "state/work").glob(f"{job}/*")), "the work folder to go")


def test_scan_that_cannot_be_read_ends_as_error_with_its_code(site: Site) -> None:
    site.start_worker()
    cut = site.folder / "cut.nii"
    cut.write_bytes(gzip.decompress((FIXTURES / "phantom.nii.gz").read_bytes())[:50_000])
    status = site.wait_status(site.upload(cut), "error")
    assert status["error_code"] == "INVALID_FORMAT"
    assert "cannot be read" in status["error_message"]
