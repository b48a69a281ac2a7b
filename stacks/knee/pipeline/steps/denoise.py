"""Takes the noise out of the volume: denoised.mha."""

# mypy: untyped-calls-exclude=SimpleITK
from __future__ import annotations

from typing import Any

import SimpleITK as sitk

from steps.contract import Call, progress, run
from steps.convert import SCAN

DENOISED = "denoised.mha"


def denoise(call: Call) -> dict[str, Any]:
    """The step: a median filter, whose radius is the option `smoothing`; 0 skips it."""
    radius = int(call.options.get("smoothing", 1))
    if not radius:
        (call.work / SCAN).rename(call.work / DENOISED)
        return {"skipped": True}
    progress(0, "removing noise")
    scan = sitk.ReadImage(str(call.file(SCAN, after="convert")))
    sitk.WriteImage(sitk.Median(scan, [radius] * 3), str(call.work / DENOISED))
    progress(100, "noise removed")
    return {"outputs": []}


if __name__ == "__main__":
    run(denoise)
