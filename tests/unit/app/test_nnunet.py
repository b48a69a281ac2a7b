"""A step with torch in an env of its own: a network is trained, comes into the model store, and labels a knee."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from app.core.ledger import Database, Job, Jobs, boot_clock
from app.core.pipelines import Pipeline
from app.core.storage import Storage
from app.core.work import Workshop
from farrier.models import Model, load_manifest
from farrier.pipelines import Pipeline as Declared
from farrier.pipelines import Places, pipeline_data
from tests.unit.app.claimed import worked
from tests.unit.app.places import REPOSITORY
from tests.unit.app.running_site import FIXTURES, KNEE

ENV = REPOSITORY / "build/nnunet"
TRAINED = REPOSITORY / "build/nnunet-model/models.yml"
MODEL = "nnunet_fullres"
CLASSES = "knee-phantom-classes@1"
DECLARED = {
    "title": "Knee MRI volumes (nnU-Net)",
    "env": "pipeline",
    "options": {
        "segmentation_model": {"type": "choice", "default": MODEL, "choices": [MODEL]},
        "smoothing": {"type": "integer", "default": 0, "minimum": 0, "maximum": 2},  # trained on scans as they come
    },
    "steps": [
        {"name": "convert", "error": "INVALID_FORMAT"},
        {"name": "denoise"},
        {"name": "nnunet", "env": "nnunet", "error": "SEGMENTATION_FAILED"},
        {"name": "measure"},
        {"name": "preview"},
    ],
}


@pytest.fixture
def trained() -> Model:
    """The network of this checkout, trained where it is not there yet."""
    install = subprocess.run(
        ["make", "build/nnunet/.synced"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if install.returncode:
        why = next((line for line in install.stderr.splitlines() if line.startswith("ERROR")), install.stderr)
        pytest.skip(f"nnU-Net and torch cannot be installed here, see docs/how-to/pipelines.md: {why}")
    subprocess.run(["make", "build/nnunet-model/models.yml"], cwd=REPOSITORY, check=True)
    return load_manifest(TRAINED).models[0]


def bring(store: Path, models: dict[Path, Model]) -> None:
    """Bring models into the store by the task that does it on hosts. The keys are where their sources lie."""
    tasks = []
    for folder, model in models.items():
        told = model.model_dump(include={"id", "version", "files"}) | {"path": f"{store}/{model.id}/{model.version}"}
        tasks.append({"models": {"models": [told], "root": str(store), "files_root": str(folder)}})
    play = store.with_suffix(".yml")
    play.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "connection": "local", "tasks": tasks}]))
    tool = Path(sys.executable).parent / "ansible-playbook"
    environment = os.environ | {"ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg")}
    subprocess.run([tool, "-i", "localhost,", play], check=True, env=environment)


def ended(workshop: Workshop, scan: Path) -> Job:
    """A job of the scan, when it has ended."""
    options = {name: option.default for name, option in workshop.pipelines["nnunet"].options.items()}
    return worked(workshop, scan.read_bytes(), ".nii.gz", "nnunet", options)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_trained_network_measures_a_knee_within_five_per_cent(
    tmp_path: Path, database: Database, trained: Model
) -> None:
    store = tmp_path / "models"
    classes = load_manifest(REPOSITORY / "stacks/models.yml").find(CLASSES)
    assert classes is not None
    bring(store, {REPOSITORY / "stacks": classes, TRAINED.parent: trained})
    declared = Declared.model_validate(DECLARED | {"models": [classes.reference, trained.reference]})
    places = Places({"pipeline": sys.prefix, "nnunet": str(ENV)}, {"pipeline": str(KNEE / "pipeline")}, str(store))
    pipelines = {"nnunet": Pipeline.model_validate(pipeline_data(declared, places))}
    workshop = Workshop(Jobs(database, boot_clock()), Storage(tmp_path / "state"), pipelines, 30)
    script = [sys.executable, str(FIXTURES / "make_phantom.py")]
    subprocess.run([*script, "--out", str(tmp_path), "--seed", "3", "--noise", "4"], check=True)

    done = ended(workshop, tmp_path / "phantom.nii.gz")
    assert done.state == "done", done.error_message
    with zipfile.ZipFile(workshop.storage.result(done.id, done.attempt)) as archive:
        metrics = json.loads(archive.read("metrics.json"))
    truth = json.loads((tmp_path / "phantom.json").read_text())
    for kind in ("volumes_mm3", "mean_thickness_mm"):
        print(kind, {name: (value, metrics[kind].get(name)) for name, value in truth[kind].items()})
        assert metrics[kind] == {name: pytest.approx(value, rel=0.05) for name, value in truth[kind].items()}
    assert metrics["segmentation_model"] == {"chosen": MODEL, "used": MODEL}
    assert trained.origin.licence == "CC0-1.0"
