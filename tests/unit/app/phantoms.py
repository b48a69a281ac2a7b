# mypy: untyped-calls-exclude=SimpleITK
"""The phantom in the formats that the site takes."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import SimpleITK as sitk

from tests.unit.app.running_site import PHANTOM

SERIES = "1.2.826.0.1.3680043.2.1125.1"
ORIENTATION = "1\\0\\0\\0\\1\\0"


def write_nrrd(path: Path, *, compressed: bool = True, scan: Path = PHANTOM) -> Path:
    """The scan as NRRD."""
    sitk.WriteImage(sitk.ReadImage(str(scan)), str(path), useCompression=compressed)
    return path


def write_slices(
    folder: Path,
    *,
    scan: Path = PHANTOM,
    series: str = SERIES,
    tags: Mapping[str, str] | None = None,
    keep: Callable[[int], bool] = lambda number: number >= 0,
) -> list[Path]:
    """The scan as DICOM files, one a slice, under names in no order of place."""
    volume = sitk.ReadImage(str(scan))
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    written = []
    for number in filter(keep, range(volume.GetDepth())):
        flat = volume[:, :, number]
        place = volume.TransformIndexToPhysicalPoint((0, 0, number))
        said = {
            "0008|0008": "DERIVED\\SECONDARY",
            "0008|0018": f"{series}.{number + 1}",
            "0008|0060": "MR",
            "0010|0010": "Doe^Jane",
            "0018|0050": str(volume.GetSpacing()[2]),
            "0020|000d": f"{SERIES}.9",
            "0020|000e": series,
            "0020|0013": str(number + 1),
            "0020|0032": "\\".join(map(str, place)),
            "0020|0037": ORIENTATION,
        }
        for tag, value in (said | dict(tags or {})).items():
            flat.SetMetaData(tag, value)
        path = folder / f"{(number * 37) % 997:04}.dcm"
        writer.SetFileName(str(path))
        writer.Execute(flat)
        written.append(path)
    return written


def zipped(path: Path, files: Mapping[str, Path | bytes]) -> Path:
    """A zip archive of these files under these names."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content if isinstance(content, bytes) else content.read_bytes())
    return path


def dicom_zip(path: Path, slices: list[Path]) -> Path:
    """A DICOM series as people send it: in a folder, with other things beside."""
    files: dict[str, Path | bytes] = {f"study/{number}/{each.name}": each for number, each in enumerate(slices)}
    return zipped(path, files | {"study/readme.txt": b"not DICOM", "../../etc/evil.txt": b"not DICOM either"})
