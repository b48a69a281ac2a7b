"""Draws the middle of the scan in three directions with the tissues in colour: results/preview.png."""

# mypy: untyped-calls-exclude=SimpleITK
from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from steps.contract import Call, progress, run
from steps.denoise import DENOISED
from steps.segment import LABELS

HEIGHT = 320  # pixels
OPACITY = 0.4
Picture = NDArray[np.uint8]


def slices(scan: sitk.Image, labels: sitk.Image) -> list[Picture]:
    """One picture a direction, through the middle of the tissues, with square pixels."""
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(labels > 0)
    middle = scan.TransformPhysicalPointToIndex(shape.GetCentroid(1))
    low, high = np.percentile(sitk.GetArrayViewFromImage(scan), (1, 99))
    grey = sitk.Cast(sitk.IntensityWindowing(scan, float(low), float(max(high, low + 1))), sitk.sitkUInt8)
    coloured = sitk.LabelOverlay(grey, labels, opacity=OPACITY)
    return [_slice(coloured, axis, middle[axis]) for axis in (2, 1, 0)]


def _slice(coloured: sitk.Image, axis: int, place: int) -> Picture:
    size, start = list(coloured.GetSize()), [0, 0, 0]
    size[axis], start[axis] = 0, place
    flat = sitk.Extract(coloured, size, start)
    flat.SetOrigin((0, 0))
    flat.SetDirection((1, 0, 0, 1))
    (width, height), edges = flat.GetSize(), flat.GetSpacing()
    pixel = height * edges[1] / HEIGHT
    wide = max(1, round(width * edges[0] / pixel))
    resampled = sitk.Resample(flat, (wide, HEIGHT), outputSpacing=(pixel, pixel), interpolator=sitk.sitkNearestNeighbor)
    picture: Picture = sitk.GetArrayFromImage(resampled)
    return picture if axis == 2 else picture[::-1]  # the head is on top


def preview(call: Call) -> dict[str, Any]:
    """The step."""
    progress(0, "drawing the preview")
    scan = sitk.ReadImage(str(call.file(DENOISED, after="denoise")))
    labels = sitk.ReadImage(str(call.output / LABELS), sitk.sitkUInt8)
    picture = np.concatenate(slices(scan, labels), axis=1)
    sitk.WriteImage(sitk.GetImageFromArray(picture, isVector=True), str(call.output / "preview.png"))
    progress(100, "drawn")
    return {"outputs": ["preview.png"]}


if __name__ == "__main__":
    run(preview)
