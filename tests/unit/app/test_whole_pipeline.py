"""The declaration of the whole pipeline, run from upload to download with programs that follow its contract."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.core.ledger import Database, Job, Jobs, boot_clock
from app.core.pipelines import Pipeline
from app.core.storage import Storage
from app.core.work import Workshop
from farrier.document import read
from farrier.pipelines import Places, pipeline_data
from farrier.stack import Stack
from tests.unit.app import claimed
from tests.unit.app.places import REPOSITORY
from tests.unit.app.running_site import Site

WHOLE = REPOSITORY / "tests/kneepipeline"
STEPS = ("segment", "label_remap", "subregions", "generate_meshes", "t2_mapping", "run_nsm", "compute_bscore")


@pytest.fixture(scope="module")
def envs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two environments beside each other."""
    root = tmp_path_factory.mktemp("envs")
    for name in ("tensorflow", "torch"):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(root / name)], check=True)
    return {name: str(root / name) for name in ("tensorflow", "torch")}


@pytest.fixture
def pipeline(envs: dict[str, str]) -> dict[str, Any]:
    declared = read(WHOLE / "stack.yml", "stack.yml").validate(Stack).pipelines["knee"]
    return pipeline_data(declared, Places(envs, {"pipeline": str(WHOLE)}, "/srv/models"))


def test_whole_pipeline_runs_from_upload_to_download(
    site: Site, envs: dict[str, str], pipeline: dict[str, Any]
) -> None:
    assert pipeline["models"]["knee-nsm"] == "/srv/models/knee-nsm/1"
    site.start_worker()
    job = site.upload()
    done = site.wait_status(job, "complete")
    ran = done["summary"]
    assert list(ran) == [name for name in STEPS if name != "t2_mapping"]
    assert {name for name in ran if ran[name]["env"] == envs["tensorflow"]} == {"segment"}
    assert all(ran[name] == {"env": envs["torch"], "libraries": f"{envs['torch']}/lib"} for name in list(ran)[1:])
    with zipfile.ZipFile(io.BytesIO(site.get(done["download_url"]).content)) as archive:
        assert sorted(archive.namelist()) == sorted(f"{name}.out" for name in ran)


@pytest.fixture
def workshop(tmp_path: Path, database: Database, pipeline: dict[str, Any]) -> Workshop:
    pipelines = {"knee": Pipeline.model_validate(pipeline)}
    return Workshop(Jobs(database, boot_clock()), Storage(tmp_path / "state"), pipelines, 10)


def worked(workshop: Workshop, scan: bytes, options: dict[str, Any]) -> Job:
    return claimed.worked(workshop, scan, ".nii", "knee", options)


@pytest.mark.parametrize(
    ("scan", "code", "text"),
    [
        (b"segment: oom", "GPU_OOM", "more memory than the GPU has free"),
        (b"segment: crash", "SEGMENTATION_FAILED", "exit code 1"),
        (b"t2_mapping: dicom", "DICOM_ERROR", "exit code 3"),
        (b"run_nsm: crash", "NSM_FAILED", "exit code 1"),
        (b"compute_bscore: say CONFIG_ERROR", "CONFIG_ERROR", "compute_bscore cannot go on"),
        (b"subregions: crash", "PIPELINE_ERROR", "exit code 1"),
    ],
)
def test_step_that_fails_gives_its_code(workshop: Workshop, scan: bytes, code: str, text: str) -> None:
    failed = worked(workshop, scan, {})
    assert (failed.state, failed.error_code, text in (failed.error_message or "")) == ("failed", code, True)


def test_steps_that_skip_are_noted_so_and_the_job_is_done(workshop: Workshop) -> None:
    job = worked(workshop, b"a scan", {"perform_nsm": False})
    assert job.state == "done"
    outcomes = {step.name: step.outcome for step in workshop.jobs.steps(job.id)}
    skipped = {"t2_mapping", "run_nsm", "compute_bscore"}
    assert outcomes == {name: "skipped" if name in skipped else "done" for name in STEPS}
    logged = workshop.storage.log(job.id).read_text()
    assert all(f"step {name}: exit code 0" in logged for name in STEPS)
    assert "[PROGRESS] 10% subregions: starting" in logged


def test_all_in_one_program_runs_as_one_step(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "run_pipeline.py").write_text(
        "import sys, pathlib\nimage, out, model, flag, config = sys.argv[1:]\n"
        "print('[PROGRESS] 50% all in one', flush=True)\n"
        "pathlib.Path(out, model).write_bytes(pathlib.Path(image).read_bytes())\n"
    )
    words = ["run_pipeline.py", "{input}", "{output}", "{option.segmentation_model}", "--config", "{config}"]
    whole = workshop.pipelines["knee"].model_dump() | {"code": tmp_path, "steps": [{"name": "all", "command": words}]}
    one = replace(workshop, pipelines={"knee": Pipeline.model_validate(whole)})
    job = worked(one, b"a scan", {"segmentation_model": "goyal_axial"})
    assert job.state == "done"
    with zipfile.ZipFile(one.storage.result(job.id, job.attempt)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"goyal_axial": b"a scan"}
