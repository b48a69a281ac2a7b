"""Measures each tissue in the label map, volume in mm³ and thickness in mm: results/metrics.json and .csv."""

# mypy: untyped-calls-exclude=SimpleITK
from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from steps.bodies import mean_local_thickness
from steps.contract import Call, StepFailed, progress, run
from steps.segment import LABELS, MODEL, USED, read_classes
from steps.thickness import BONE_OF, THIN, mean_thickness

MARGIN = 5  # voxels around a tissue that its thickness needs
Measures = dict[str, float]


def volumes(labels: sitk.Image, tissues: dict[str, int]) -> Measures:
    """The volume of each tissue, in mm³; 0 for one that is not there."""
    count = sitk.LabelShapeStatisticsImageFilter()
    count.Execute(labels)
    voxel = math.prod(labels.GetSpacing())
    return {
        name: round(count.GetNumberOfPixels(label) * voxel, 1) if count.HasLabel(label) else 0.0
        for name, label in tissues.items()
    }


def thicknesses(labels: sitk.Image, tissues: dict[str, int]) -> Measures:
    """The mean thickness in mm of the tissues that are there, of a cartilage where its bone is there too."""
    found: Measures = {}
    for name, label in tissues.items():
        around = _around(labels, label)
        thickness = None if around is None else _thickness(around, name, tissues)
        found |= {} if thickness is None else {name: round(thickness, 2)}
    return found


def _thickness(around: sitk.Image, name: str, tissues: dict[str, int]) -> float | None:
    tissue = around == tissues[name]
    if name not in THIN:
        return mean_local_thickness(tissue)
    if name not in BONE_OF:
        return mean_thickness(tissue)
    bone = tissues.get(BONE_OF[name])
    return None if bone is None else mean_thickness(tissue, around == bone)


def _around(labels: sitk.Image, label: int) -> sitk.Image | None:
    """The part of the label map that the tissue lies in."""
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(labels)
    if not shape.HasLabel(label):
        return None
    box = shape.GetBoundingBox(label)
    begin = [max(0, at - MARGIN) for at in box[:3]]
    end = [min(most, at + size + MARGIN) for at, size, most in zip(box[:3], box[3:], labels.GetSize(), strict=True)]
    part = sitk.RegionOfInterest(labels, [b - a for a, b in zip(begin, end, strict=True)], begin)
    padded: sitk.Image = sitk.ConstantPad(part, [MARGIN] * 3, [MARGIN] * 3)
    return padded


def used(call: Call) -> dict[str, str]:
    """Which model the user chose and which one made the labels: where they differ, the result does not hide it."""
    note = call.work / USED
    made_by = note.read_text(encoding="utf-8") if note.is_file() else ""
    return {"chosen": str(call.options.get("segmentation_model", made_by)), "used": made_by}


def write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """Write the figures for programs (JSON) and for spreadsheets (CSV)."""
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    thick = metrics["mean_thickness_mm"]
    with (folder / "metrics.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["tissue", "volume_mm3", "mean_thickness_mm"])
        table.writerows([name, volume, thick.get(name, "")] for name, volume in metrics["volumes_mm3"].items())


def measure(call: Call) -> dict[str, Any]:
    """The step."""
    path = call.output / LABELS
    if not path.is_file():
        raise StepFailed("FILE_NOT_FOUND", "There is no label map to measure; the step segment must run first.")
    progress(0, "reading the label map")
    labels = sitk.ReadImage(str(path), sitk.sitkUInt8)
    classes = sorted(read_classes(call.model(MODEL)), key=lambda each: int(each["label"]))
    tissues = {str(each["name"]): int(each["label"]) for each in classes if int(each["label"]) != 0}
    progress(20, "measuring volumes")
    summary = {"volumes_mm3": volumes(labels, tissues)}
    progress(40, "measuring thickness")
    summary |= {"mean_thickness_mm": thicknesses(labels, tissues)}
    told = {"segmentation_model": used(call)}
    spacing = [round(step, 6) for step in labels.GetSpacing()]
    size = {"spacing_mm": spacing, "size_voxels": list(labels.GetSize()), "options": call.options}
    write_metrics(call.output, summary | told | size)
    progress(100, "measured")
    return {"outputs": ["metrics.json", "metrics.csv"], "summary": summary | told}


if __name__ == "__main__":
    run(measure)
