"""A client written for the site as it was, against ours: its form, its words, nothing changed."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.unit.app.running_site import PHANTOM, Site, knee_pipeline, wait_for

MODELS = ["dosma_ananya", "nnunet_fullres", "nnunet_cascade", "goyal_sagittal", "goyal_coronal", "goyal_axial"]
FORM = {
    "email": "researcher@knee.example",
    "segmentation_model": "nnunet_fullres",
    "perform_nsm": "true",
    "nsm_type": "bone_and_cart",
    "retain_results": "true",
    "cartilage_smoothing": "0.4",
    "batch_size": "128",
}


@pytest.fixture
def pipeline(tmp_path: Path) -> dict[str, Any]:
    """A pipeline that declares today's models, and whose one step returns the options that it was given."""
    steps = tmp_path / "echo/steps"
    steps.mkdir(parents=True)
    (steps / "__init__.py").touch()
    (steps / "echo.py").write_text(
        "import json, pathlib, sys\n"
        "work, options = pathlib.Path(sys.argv[1]), sys.argv[sys.argv.index('--options') + 1]\n"
        "print('[PROGRESS] 50% half', flush=True)\n"
        "(work / 'results/options.json').write_text(options)\n"
        "(work / '_step_result.json').write_text(json.dumps({'summary': {}}))\n"
    )
    options = dict(knee_pipeline()["options"])
    del options["smoothing"]
    options["segmentation_model"] = {"type": "choice", "default": MODELS[0], "choices": MODELS}
    step = {"name": "echo", "timeout": 60}
    return {
        "title": "Today's",
        "python": sys.executable,
        "code": str(steps.parent),
        "steps": [step],
        "options": options,
    }


def test_todays_form_is_sent_followed_and_downloaded(site: Site) -> None:
    site.start_worker()
    with site.client() as client:
        models = client.get("/models").json()
        assert FORM["segmentation_model"] in models["segmentation_models"]
        with PHANTOM.open("rb") as scan:
            answer = client.post("/upload", files={"file": ("knee.nii.gz", scan)}, data=FORM)
        assert answer.status_code == 201, answer.text
        job = answer.json()
        assert {"job_id", "status", "queue_position", "estimated_wait_seconds", "message"} == set(job)
        seen: dict[str, dict[str, Any]] = {}

        def ended() -> bool:
            status = client.get(f"/status/{job['job_id']}").json()
            seen[status["status"]] = status
            return status["status"] in ("complete", "error")

        wait_for(ended, "the job's end")
        done = seen["complete"]
        result = client.get(done["download_url"])
    assert (result.status_code, len(result.content)) == (200, done["result_size_bytes"])
    with zipfile.ZipFile(io.BytesIO(result.content)) as archive:
        options = json.loads(archive.read("options.json"))
    assert options == {
        "segmentation_model": "nnunet_fullres",
        "perform_nsm": True,
        "nsm_type": "bone_and_cart",
        "cartilage_smoothing": 0.4,
        "batch_size": 128,
    }
    if "queued" in seen:
        assert {"queue_position", "estimated_wait", "estimated_wait_seconds"} <= set(seen["queued"])
