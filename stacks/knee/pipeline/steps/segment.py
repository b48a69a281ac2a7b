"""Labels each voxel of a scan with the tissue whose intensity is nearest, and tidies up: results/labels.nii.gz."""

# mypy: untyped-calls-exclude=SimpleITK
from __future__ import annotations

import gzip
import json
import math
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from steps.contract import Call, StepFailed, progress, run

MODEL = "knee-phantom-classes"
SMALLEST_PART = 0.05  # of a tissue's largest piece: smaller pieces are taken for noise


def _bytes_in(path: Path) -> int:
    """The length of the file's content, unpacked where it is packed; raises what a damaged archive raises."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return sum(len(chunk) for chunk in iter(lambda: file.read(1 << 20), b""))


def _bytes_promised(path: Path) -> int:
    """The least length that a file with this header has."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    one = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID(), reader.GetNumberOfComponents())
    voxel: int = one.GetSizeOfPixelComponent() * one.GetNumberOfComponentsPerPixel()
    promised: int = voxel * math.prod(reader.GetSize())
    return promised


def read_scan(path: Path) -> sitk.Image:
    """The scan as a 3-D float volume; raises StepFailed for anything else."""
    try:
        # SimpleITK reads a file that was cut off without a word, and takes the rest for zeros.
        if _bytes_in(path) < _bytes_promised(path):
            raise EOFError
        scan = sitk.ReadImage(str(path), sitk.sitkFloat32)
    except (RuntimeError, OSError, EOFError, zlib.error) as error:
        raise StepFailed("INVALID_FORMAT", "The scan cannot be read as NIfTI; it may be damaged or cut off.") from error
    while scan.GetDimension() > 3 and scan.GetSize()[-1] == 1:
        scan = scan[..., 0]
    if scan.GetDimension() != 3 or scan.GetNumberOfComponentsPerPixel() != 1:
        raise StepFailed("INVALID_FORMAT", "The scan is not one volume with three dimensions.")
    return scan


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


def segment(call: Call) -> dict[str, Any]:
    """The step."""
    progress(0, "reading the scan")
    scan = read_scan(call.input)
    classes = read_classes(call.model(MODEL))
    progress(10, "smoothing")
    radius = int(call.options.get("smoothing", 1))
    smooth = sitk.Median(scan, [radius] * 3) if radius else scan
    progress(30, "labelling tissues")
    labels = tidy(label_by_intensity(smooth, classes), classes)
    extent = sitk.StatisticsImageFilter()
    extent.Execute(labels)
    if extent.GetMaximum() == 0:
        raise StepFailed("SEGMENTATION_FAILED", "No tissue was found in the scan; is it a knee MRI?")
    progress(90, "writing the label map")
    sitk.WriteImage(labels, str(call.output / "labels.nii.gz"))
    progress(100, "labelled")
    return {"outputs": ["labels.nii.gz"]}


if __name__ == "__main__":
    run(segment)
