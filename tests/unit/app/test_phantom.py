# mypy: untyped-calls-exclude=SimpleITK
"""The phantom and the steps of the knee pipeline, run as the site runs them."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from tests.unit.app.running_site import FIXTURES, KNEE, PHANTOM


def make(folder: Path, *options: str) -> Path:
    folder.mkdir()
    script = str(FIXTURES / "make_phantom.py")
    subprocess.run([sys.executable, script, "--out", str(folder), *options], check=True)
    return folder / "phantom.nii.gz"


def step(work: Path, name: str, *, models: Path = KNEE / "models", **options: Any) -> tuple[int, dict[str, Any]]:
    (work / "config.json").write_text(json.dumps({"models": {"knee-phantom-classes": str(models)}}))
    command = [sys.executable, "-B", "-m", f"steps.{name}", str(work), "--config", str(work / "config.json")]
    done = subprocess.run(
        [*command, "--options", json.dumps(options)], cwd=KNEE / "pipeline", capture_output=True, check=False
    )
    return done.returncode, json.loads((work / "_step_result.json").read_text())


def volumes(work: Path, **options: Any) -> dict[str, float]:
    assert step(work, "segment", **options)[0] == 0
    code, result = step(work, "measure")
    assert code == 0
    return dict(result["summary"]["volumes_mm3"])


def truth(folder: Path) -> dict[str, Any]:
    told = json.loads((folder / "phantom.json").read_text())["volumes_mm3"]
    return {name: pytest.approx(volume, rel=0.05) for name, volume in told.items()}


def test_committed_phantom_is_what_the_script_makes(tmp_path: Path) -> None:
    made = make(tmp_path / "new")
    assert gzip.decompress(made.read_bytes()) == gzip.decompress(PHANTOM.read_bytes())
    assert (tmp_path / "new/phantom.json").read_text() == (FIXTURES / "phantom.json").read_text()
    assert PHANTOM.stat().st_size < 300_000


@pytest.mark.parametrize("options", [("--seed", "1", "--noise", "8"), ("--scale", "1.6")])
def test_other_phantoms_are_measured_as_well(tmp_path: Path, options: tuple[str, ...]) -> None:
    work = tmp_path / "work"
    make(work, *options).rename(work / "input.nii.gz")
    assert volumes(work) == truth(work)


def test_volume_counts_the_spacing(tmp_path: Path) -> None:
    scan = sitk.ReadImage(str(PHANTOM))
    scan.SetSpacing([step * 2 for step in scan.GetSpacing()])
    sitk.WriteImage(scan, str(tmp_path / "input.nii.gz"))
    single = truth(FIXTURES)["femur"].expected
    assert volumes(tmp_path, smoothing=0)["femur"] == pytest.approx(8 * single, rel=0.05)


def write_dark(path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.full((12, 12, 12), 60, dtype=np.int16)), str(path))


@pytest.mark.parametrize(
    ("content", "code", "text"),
    [
        (PHANTOM.read_bytes()[:100_000], "INVALID_FORMAT", "damaged or cut off"),
        (b"rubbish", "INVALID_FORMAT", "cannot be read"),
        (None, "SEGMENTATION_FAILED", "No tissue was found"),
    ],
)
def test_bad_scan_is_told_with_its_code(tmp_path: Path, content: bytes | None, code: str, text: str) -> None:
    path = tmp_path / "input.nii.gz"
    if content is None:
        write_dark(path)
    else:
        path.write_bytes(content)
    exit_code, result = step(tmp_path, "segment")
    assert (exit_code, result["error_code"], text in result["error_message"]) == (1, code, True)


def test_missing_model_input_and_label_map_are_told(tmp_path: Path) -> None:
    assert step(tmp_path, "segment")[1]["error_code"] == "FILE_NOT_FOUND"
    write_dark(tmp_path / "input.nii.gz")
    assert step(tmp_path, "segment", models=tmp_path / "nothing")[1]["error_code"] == "CONFIG_ERROR"
    assert step(tmp_path, "measure")[1]["error_code"] == "FILE_NOT_FOUND"
