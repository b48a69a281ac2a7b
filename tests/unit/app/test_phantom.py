# mypy: untyped-calls-exclude=SimpleITK
"""The phantom and the steps of the knee pipeline, run as the site runs them."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from tests.unit.app.phantoms import dicom_zip, write_nrrd, write_slices
from tests.unit.app.running_site import FIXTURES, KNEE, PHANTOM

STEPS = ("convert", "denoise", "segment", "measure", "preview")


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


def measured(work: Path, **options: Any) -> dict[str, Any]:
    """What the pipeline says of the work folder's scan."""
    for name in STEPS[:-1]:
        code, result = step(work, name, **options)
        assert code == 0, result
    return dict(json.loads((work / "results/metrics.json").read_text()))


def truth(folder: Path = FIXTURES) -> dict[str, Any]:
    told = json.loads((folder / "phantom.json").read_text())
    return {
        kind: {name: pytest.approx(value, rel=0.05) for name, value in told[kind].items()}
        for kind in ("volumes_mm3", "mean_thickness_mm")
    }


def figures(metrics: dict[str, Any]) -> dict[str, Any]:
    return {kind: metrics[kind] for kind in ("volumes_mm3", "mean_thickness_mm")}


def test_committed_phantom_is_what_the_script_makes(tmp_path: Path) -> None:
    made = make(tmp_path / "new")
    assert gzip.decompress(made.read_bytes()) == gzip.decompress(PHANTOM.read_bytes())
    assert (tmp_path / "new/phantom.json").read_text() == (FIXTURES / "phantom.json").read_text()
    assert PHANTOM.stat().st_size < 300_000


@pytest.mark.parametrize(
    "options", [("--seed", "1", "--noise", "8"), pytest.param(("--scale", "1.6"), marks=pytest.mark.slow)]
)
def test_other_phantoms_are_measured_as_well(tmp_path: Path, options: tuple[str, ...]) -> None:
    work = tmp_path / "work"
    make(work, *options).rename(work / "input.nii.gz")
    assert figures(measured(work)) == truth(work)


def write_nii(path: Path) -> None:
    path.write_bytes(gzip.decompress(PHANTOM.read_bytes()))


def write_zip(path: Path) -> None:
    dicom_zip(path, write_slices(path.parent / "slices"))


@pytest.mark.parametrize(("name", "write"), [("input.nii", write_nii), ("input.nrrd", write_nrrd)])
def test_each_format_is_read_to_the_same_volume(tmp_path: Path, name: str, write: Callable[[Path], object]) -> None:
    write(tmp_path / name)
    assert step(tmp_path, "convert")[0] == 0
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(PHANTOM)))
    assert (sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "scan.mha"))) == expected).all()


def test_dicom_series_gives_figures_tables_and_a_picture(tmp_path: Path) -> None:
    work = tmp_path / "deep/work"
    work.mkdir(parents=True)
    write_zip(tmp_path / "sent.zip")
    (tmp_path / "sent.zip").rename(work / "input.zip")
    metrics = measured(work, segmentation_model="nnunet_fullres", cartilage_smoothing=0.4, batch_size=8)
    assert figures(metrics) == truth()
    assert metrics["segmentation_model"] == {"chosen": "nnunet_fullres", "used": "reference"}
    assert metrics["options"]["batch_size"] == 8
    rows = list(csv.DictReader((work / "results/metrics.csv").open()))
    assert {row["tissue"]: float(row["volume_mm3"]) for row in rows} == metrics["volumes_mm3"]
    thick = {row["tissue"]: float(row["mean_thickness_mm"]) for row in rows if row["mean_thickness_mm"]}
    assert thick == metrics["mean_thickness_mm"]
    assert step(work, "preview")[0] == 0
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(work / "results/preview.png")))
    assert (picture.shape[0], picture.shape[2]) == (320, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 6
    assert not (work / "dicom").exists()
    assert not [*tmp_path.rglob("evil.txt"), *tmp_path.rglob("readme.txt")]
    assert b"Doe" not in (work / "scan.mha").read_bytes()


def test_volume_and_thickness_count_the_spacing(tmp_path: Path) -> None:
    scan = sitk.ReadImage(str(PHANTOM))
    scan.SetSpacing([step * 2 for step in scan.GetSpacing()])
    sitk.WriteImage(scan, str(tmp_path / "input.nii.gz"))
    metrics, single = measured(tmp_path, smoothing=0, cartilage_smoothing=0), truth()
    assert metrics["volumes_mm3"]["femur"] == pytest.approx(8 * single["volumes_mm3"]["femur"].expected, rel=0.05)
    thick = metrics["mean_thickness_mm"]["femoral_cartilage"]
    assert thick == pytest.approx(2 * single["mean_thickness_mm"]["femoral_cartilage"].expected, rel=0.05)


def test_cartilage_smoothing_smooths_cartilage_alone(tmp_path: Path) -> None:
    (tmp_path / "input.nii.gz").write_bytes(PHANTOM.read_bytes())
    plain = measured(tmp_path, cartilage_smoothing=0)["volumes_mm3"]
    for name in ("segment", "measure"):
        assert step(tmp_path, name, cartilage_smoothing=2)[0] == 0
    smooth = json.loads((tmp_path / "results/metrics.json").read_text())["volumes_mm3"]
    assert {name for name in plain if plain[name] != smooth[name]} == {"femoral_cartilage", "tibial_cartilage"}


def write_dark(path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.full((12, 12, 12), 60, dtype=np.int16)), str(path))


def test_bad_scan_ends_with_1_and_its_code(tmp_path: Path) -> None:
    (tmp_path / "input.nii.gz").write_bytes(PHANTOM.read_bytes()[:100_000])
    code, result = step(tmp_path, "convert")
    assert (code, result["error_code"], "cut off" in result["error_message"]) == (1, "INVALID_FORMAT", True)


def test_dark_scan_has_no_tissue(tmp_path: Path) -> None:
    write_dark(tmp_path / "denoised.mha")
    code, result = step(tmp_path, "segment")
    assert (code, result["error_code"]) == (1, "SEGMENTATION_FAILED")
    assert "No tissue was found" in result["error_message"]


def test_missing_model_input_and_earlier_steps_are_told(tmp_path: Path) -> None:
    for name in (*STEPS, "nnunet"):
        assert step(tmp_path, name)[1]["error_code"] == "FILE_NOT_FOUND"
    write_dark(tmp_path / "denoised.mha")
    for name in ("segment", "nnunet"):
        assert step(tmp_path, name, models=tmp_path / "nothing")[1]["error_code"] == "CONFIG_ERROR"
