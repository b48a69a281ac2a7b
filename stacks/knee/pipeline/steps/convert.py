"""Reads the scan, whatever its format, and writes it as one volume without anything that says whose it is: scan.mha."""

# mypy: untyped-calls-exclude=SimpleITK
from __future__ import annotations

import shutil
from typing import Any

import SimpleITK as sitk

from steps.contract import Call, progress, run
from steps.scan import read_scan

SCAN = "scan.mha"


def convert(call: Call) -> dict[str, Any]:
    """The step."""
    progress(0, "reading the scan")
    scan = read_scan(call.input, call.work)
    shutil.rmtree(call.work / "dicom", ignore_errors=True)
    for key in scan.GetMetaDataKeys():
        scan.EraseMetaData(key)
    progress(80, "writing the volume")
    sitk.WriteImage(scan, str(call.work / SCAN))
    progress(100, "read")
    return {"outputs": []}


if __name__ == "__main__":
    run(convert)
