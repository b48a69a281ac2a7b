"""Reads a scan in any format that the site takes, and says what is wrong with one that cannot be used."""

# mypy: untyped-calls-exclude=SimpleITK
from __future__ import annotations

import gzip
import math
import zlib
from itertools import pairwise
from pathlib import Path
from typing import IO, cast

import SimpleITK as sitk

from steps.contract import StepFailed
from steps.unpack import is_dicom, unpack

READERS = {".nii": "NiftiImageIO", ".nii.gz": "NiftiImageIO", ".nrrd": "NrrdImageIO"}
NAMES = {"NiftiImageIO": "NIfTI", "NrrdImageIO": "NRRD"}
MOST_VOXELS = 400_000_000
LEAST_SLICES = 10
UNEVEN = 0.1  # of the usual distance between slices
BLOCK = 1 << 20
POSITION, ORIENTATION = "0020|0032", "0020|0037"


def suffix_of(path: Path) -> str:
    """The suffix of the scan's file, in lower case: `.nii.gz` is one."""
    lower = path.name.lower()
    return ".nii.gz" if lower.endswith(".nii.gz") else Path(lower).suffix


def read_scan(path: Path, work: Path) -> sitk.Image:
    """The scan as a 3-D float volume; raises StepFailed for anything else. `work` is a folder for what is unpacked."""
    if not path.is_file():
        raise StepFailed("FILE_NOT_FOUND", f"The scan {path.name} is not there (any more).")
    suffix = suffix_of(path)
    if suffix in READERS:
        return read_volume(path, READERS[suffix])
    if suffix not in (".dcm", ".zip"):
        raise StepFailed("INVALID_FORMAT", f"A scan is .nii, .nii.gz, .nrrd, .dcm or a .zip of DICOM, not '{suffix}'.")
    folder = work / "dicom"
    folder.mkdir()
    if suffix == ".zip":
        unpack(path, folder)
    else:
        _take_one(path, folder)
    return read_series(folder)


def _take_one(path: Path, folder: Path) -> None:
    with path.open("rb") as file:
        if not is_dicom(file.read(132)):
            raise StepFailed("DICOM_ERROR", "The file is named .dcm and is not DICOM.")
    (folder / "00001.dcm").hardlink_to(path)


# ---- NIfTI and NRRD -------------------------------------------------------------------------------------------------


def read_volume(path: Path, reader_name: str) -> sitk.Image:
    """One file with a whole volume."""
    try:
        if reader_name == "NrrdImageIO":
            _refuse_detached(path)
        reader = sitk.ImageFileReader()
        reader.SetImageIO(reader_name)
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        _refuse_large(reader.GetSize())
        # SimpleITK reads a file that was cut off without a word, and takes the rest for zeros.
        if _bytes_in(path) < _bytes_promised(reader):
            raise EOFError
        reader.SetOutputPixelType(sitk.sitkFloat32)
        return _one_volume(reader.Execute())
    except (RuntimeError, OSError, EOFError, zlib.error) as error:
        told = f"The scan cannot be read as {NAMES[reader_name]}; it may be damaged or cut off."
        raise StepFailed("INVALID_FORMAT", told) from error


def _bytes_in(path: Path) -> int:
    """The length of the file's content, unpacked where it is packed; raises what a damaged archive raises."""
    if path.suffix.lower() == ".nrrd":
        start, packed = _nrrd_data(path)
        with path.open("rb") as file:
            file.seek(start)
            return _length(cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if packed else file)
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        return _length(cast("IO[bytes]", file))


def _length(file: IO[bytes]) -> int:
    most = MOST_VOXELS * 8
    length = 0
    while block := file.read(BLOCK):
        length += len(block)
        if length > most:
            raise StepFailed("INVALID_FORMAT", "The scan is too large when it is unpacked.")
    return length


def _bytes_promised(reader: sitk.ImageFileReader) -> int:
    """The least length that a file with this header has."""
    one = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID(), reader.GetNumberOfComponents())
    voxel: int = one.GetSizeOfPixelComponent() * one.GetNumberOfComponentsPerPixel()
    header = float(reader.GetMetaData("vox_offset")) if reader.GetImageIO() == "NiftiImageIO" else 0
    promised: int = int(header) + voxel * math.prod(reader.GetSize())
    return promised


def _nrrd_header(path: Path) -> tuple[dict[str, str], int]:
    """The fields of a NRRD header and the place where the data begin."""
    with path.open("rb") as file:
        head = file.read(65536)
    end = min((place for mark in (b"\n\n", b"\r\n\r\n") if (place := head.find(mark)) >= 0), default=-1)
    if not head.startswith(b"NRRD") or end < 0:
        raise EOFError
    lines = head[:end].decode("utf-8", "replace").splitlines()
    fields = (line.split(":", 1) for line in lines[1:] if ":" in line and not line.startswith("#"))
    return {key.strip().lower(): value.strip().lower() for key, value in fields}, end + (
        4 if head[end : end + 2] == b"\r\n" else 2
    )


def _nrrd_data(path: Path) -> tuple[int, bool]:
    fields, start = _nrrd_header(path)
    if fields.get("encoding") not in ("raw", "gzip", "gz"):
        told = f"NRRD data with the encoding {fields.get('encoding')} are not read; save the scan with raw or gzip."
        raise StepFailed("INVALID_FORMAT", told)
    return start, fields["encoding"] != "raw"


def _refuse_detached(path: Path) -> None:
    """A header may name another file for its data, which could be anybody's."""
    fields, _ = _nrrd_header(path)
    if {"data file", "datafile"} & set(fields):
        raise StepFailed("INVALID_FORMAT", "The NRRD file has its data in another file; save it as one file.")


def _refuse_large(size: tuple[int, ...]) -> None:
    if math.prod(size) > MOST_VOXELS:
        raise StepFailed("INVALID_FORMAT", f"The scan has more than {MOST_VOXELS} voxels.")


def _one_volume(scan: sitk.Image) -> sitk.Image:
    while scan.GetDimension() > 3 and scan.GetSize()[-1] == 1:
        scan = scan[..., 0]
    if scan.GetDimension() != 3 or scan.GetNumberOfComponentsPerPixel() != 1:
        raise StepFailed("INVALID_FORMAT", "The scan is not one volume with three dimensions.")
    return scan


# ---- DICOM ----------------------------------------------------------------------------------------------------------


def read_series(folder: Path) -> sitk.Image:
    """The one series that lies in the folder."""
    names = _one_series(folder)
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames(names)
    reader.MetaDataDictionaryArrayUpdateOn()
    reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        scan = reader.Execute()
    except RuntimeError as error:
        raise StepFailed(
            "DICOM_ERROR", "The DICOM images cannot be read; one may be damaged or unlike the rest."
        ) from error
    if len(names) > 1:
        _check_distances([_place(reader, number) for number in range(len(names))])
    scan = _one_volume(scan)
    if scan.GetSize()[2] < LEAST_SLICES:
        raise StepFailed("DICOM_ERROR", f"The series has {scan.GetSize()[2]} slices; it needs {LEAST_SLICES} at least.")
    return scan


def _one_series(folder: Path) -> list[str]:
    found = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not found:
        raise StepFailed("DICOM_ERROR", "There is no DICOM image in what was sent.")
    if len(found) > 1:
        raise StepFailed("DICOM_ERROR", f"There are {len(found)} DICOM series in what was sent; send one at a time.")
    return list(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), found[0]))


def _place(reader: sitk.ImageSeriesReader, number: int) -> float:
    """Where a slice lies, in mm along the normal of its plane."""
    try:
        position = [float(each) for each in reader.GetMetaData(number, POSITION).split("\\")]
        a, b, c, d, e, f = (float(each) for each in reader.GetMetaData(number, ORIENTATION).split("\\"))
    except (RuntimeError, ValueError) as error:
        raise StepFailed(
            "DICOM_ERROR", "A DICOM image does not say where it lies (position and orientation)."
        ) from error
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    return sum(one * two for one, two in zip(position, normal, strict=True))


def _check_distances(places: list[float]) -> None:
    """Refuse slices that are missing, or that lie at one place: their volume would be wrong without a word."""
    distances = [abs(two - one) for one, two in pairwise(sorted(places))]
    usual = sorted(distances)[len(distances) // 2]
    if min(distances) < UNEVEN * max(usual, 1e-3):
        raise StepFailed("DICOM_ERROR", "Several DICOM images lie at one place; send a series with one image for each.")
    if max(distances) > (1 + UNEVEN) * usual:
        raise StepFailed("DICOM_ERROR", "The DICOM slices are not evenly spaced; some may be missing.")
