"""Measures the volume of each tissue in the label map, in mm³: results/metrics.json and results/metrics.csv."""

# mypy: untyped-calls-exclude=SimpleITK
from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from steps.contract import Call, StepFailed, progress, run
from steps.segment import MODEL, read_classes


def volumes(labels: sitk.Image, classes: list[dict[str, Any]]) -> dict[str, float]:
    """The volume of each class by name, in mm³; 0 for one that is not there."""
    count = sitk.LabelShapeStatisticsImageFilter()
    count.Execute(labels)
    voxel = math.prod(labels.GetSpacing())
    return {
        str(each["name"]): round(count.GetNumberOfPixels(int(each["label"])) * voxel, 1)
        if count.HasLabel(int(each["label"]))
        else 0.0
        for each in sorted(classes, key=lambda each: int(each["label"]))
        if int(each["label"]) != 0
    }


def write_metrics(folder: Path, measured: dict[str, float], labels: sitk.Image) -> None:
    """Write the volumes for programs (JSON) and for spreadsheets (CSV)."""
    spacing = [round(step, 6) for step in labels.GetSpacing()]
    metrics = {"volumes_mm3": measured, "spacing_mm": spacing, "size_voxels": list(labels.GetSize())}
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    with (folder / "metrics.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["tissue", "volume_mm3"])
        table.writerows(measured.items())


def measure(call: Call) -> dict[str, Any]:
    """The step."""
    path = call.output / "labels.nii.gz"
    if not path.is_file():
        raise StepFailed("FILE_NOT_FOUND", "There is no label map to measure; the step segment must run first.")
    progress(0, "reading the label map")
    labels = sitk.ReadImage(str(path), sitk.sitkUInt8)
    progress(40, "measuring volumes")
    measured = volumes(labels, read_classes(call.model(MODEL)))
    write_metrics(call.output, measured, labels)
    progress(100, "measured")
    return {"outputs": ["metrics.json", "metrics.csv"], "summary": {"volumes_mm3": measured}}


if __name__ == "__main__":
    run(measure)
