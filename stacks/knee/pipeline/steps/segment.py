"""Labels each voxel with the tissue whose intensity is nearest, and tidies up: results/labels.nii.gz."""

# mypy: untyped-calls-exclude=SimpleITK
from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from steps.contract import Call, StepFailed, progress, run
from steps.denoise import DENOISED

LABELS = "labels.nii.gz"
USED = "model.txt"  # in the work folder: which model made the labels
MODEL = "knee-phantom-classes"
SMALLEST_PART = 0.05  # of a tissue's largest piece: smaller pieces are taken for noise


def read_classes(folder: Path) -> list[dict[str, Any]]:
    """The model's classes, from the darkest to the brightest."""
    files = sorted(folder.glob("*.json"))
    if len(files) != 1:
        raise StepFailed("CONFIG_ERROR", f"The model folder {folder} must hold one JSON file; it has {len(files)}.")
    classes = json.loads(files[0].read_text(encoding="utf-8"))["classes"]
    return sorted(classes, key=lambda each: float(each["intensity"]))


def label_by_intensity(scan: sitk.Image, classes: list[dict[str, Any]]) -> sitk.Image:
    """Each voxel gets the label of the class with the nearest intensity."""
    labels = sitk.Image(scan.GetSize(), sitk.sitkUInt8)
    labels.CopyInformation(scan)
    for lower, upper in pairwise(classes):
        middle = (float(lower["intensity"]) + float(upper["intensity"])) / 2
        above = sitk.Cast(scan > middle, sitk.sitkUInt8)
        labels = labels * (1 - above) + above * int(upper["label"])
    return labels


def largest_pieces(labels: sitk.Image, label: int) -> sitk.Image:
    """The label's mask without specks: only pieces of some size beside the largest one stay."""
    pieces = sitk.RelabelComponent(sitk.ConnectedComponent(labels == label), sortByObjectSize=True)
    sizes = sitk.LabelShapeStatisticsImageFilter()
    sizes.Execute(pieces)
    found = sorted(sizes.GetLabels())
    least = SMALLEST_PART * sizes.GetNumberOfPixels(found[0]) if found else 0
    kept = [piece for piece in found if sizes.GetNumberOfPixels(piece) >= least]
    mask: sitk.Image = (pieces >= 1) & (pieces <= max(kept, default=0))
    return mask


def tidy(labels: sitk.Image, classes: list[dict[str, Any]]) -> sitk.Image:
    """The labels without specks."""
    result = sitk.Image(labels.GetSize(), sitk.sitkUInt8)
    result.CopyInformation(labels)
    numbers = [int(each["label"]) for each in classes if int(each["label"]) != 0]
    for done, label in enumerate(numbers):
        progress(40 + 50 * done / len(numbers), "removing specks")
        result = result + sitk.Cast(largest_pieces(labels, label), sitk.sitkUInt8) * label
    return result


def smooth_cartilage(labels: sitk.Image, classes: list[dict[str, Any]], sigma: float) -> sitk.Image:
    """The labels with the surfaces of cartilages smoothed by a Gaussian of `sigma` mm, against the background only."""
    for each in classes:
        if sigma and str(each["name"]).endswith("cartilage"):
            label = int(each["label"])
            soft = sitk.DiscreteGaussian(sitk.Cast(labels == label, sitk.sitkFloat32), [sigma**2] * 3)
            mine = sitk.Cast(((labels == label) | (labels == 0)) & (soft >= 0.5), sitk.sitkUInt8)
            others = sitk.Cast(labels != label, sitk.sitkUInt8)
            labels = labels * others * (1 - mine) + mine * label
    return labels


def labelled(call: Call, labels: Any, *, used: str) -> dict[str, Any]:
    """The result of a step that made `labels` (an image) with the model `used`. Raises StepFailed where it is empty."""
    extent = sitk.StatisticsImageFilter()
    extent.Execute(labels)
    if extent.GetMaximum() == 0:
        raise StepFailed("SEGMENTATION_FAILED", "No tissue was found in the scan; is it a knee MRI?")
    progress(90, "writing the label map")
    sitk.WriteImage(labels, str(call.output / LABELS))
    (call.work / USED).write_text(used, encoding="utf-8")
    progress(100, "labelled")
    return {"outputs": [LABELS]}


def segment(call: Call) -> dict[str, Any]:
    """The step."""
    progress(0, "reading the volume")
    scan = sitk.ReadImage(str(call.file(DENOISED, after="denoise")))
    classes = read_classes(call.model(MODEL))
    progress(20, "labelling tissues")
    labels = tidy(label_by_intensity(scan, classes), classes)
    labels = smooth_cartilage(labels, classes, float(call.options.get("cartilage_smoothing", 0)))
    return labelled(call, labels, used="reference")


if __name__ == "__main__":
    run(segment)
