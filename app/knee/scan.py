"""Whether an upload is a scan that the pipeline can use, by its headers alone: the web process never reads voxels."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from app.core.archive import ArchiveLimits, BadArchive, open_archive
from app.knee.dicom import Image, check_dicom, check_series, is_dicom, read_image
from app.knee.nifti import nifti_lengths
from app.knee.nrrd import nrrd_lengths
from app.knee.volume import NotAScan, check_volume

SUFFIXES = (".zip", ".dcm", ".nii.gz", ".nii", ".nrrd")
KINDS = "a .zip of one DICOM series, .dcm, .nii, .nii.gz or .nrrd"
ZIP = b"PK\x03\x04"
PEEK = 132  # bytes by which DICOM is known


def suffix_of(name: str) -> str:
    """The suffix that says how a file is read; raises NotAScan for one that nothing here reads."""
    lower = name.lower()
    found = next((suffix for suffix in SUFFIXES if lower.endswith(suffix)), None)
    if found is None:
        raise NotAScan(f"This kind of file is not accepted; send {KINDS}.")
    return found


def _images(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo]) -> Iterator[Image]:
    """The images among the files; a DICOM file is known by its content, since many have no suffix."""
    for entry in entries:
        with archive.open(entry) as file:
            head = file.read(PEEK)
            if head.startswith(ZIP):
                raise BadArchive(f"The zip holds another archive: {entry.filename[:80]!r}; send what is in it.")
            if not is_dicom(head):
                continue
        with archive.open(entry) as file:
            image = read_image(file)
        if image:
            yield image


def check_scan(path: Path, suffix: str, upload_limit: int) -> None:
    """Raises NotAScan or BadArchive unless the file is a usable scan of the kind that its suffix says."""
    if suffix == ".zip":
        with open_archive(path, ArchiveLimits(size=4 * upload_limit, free=upload_limit // 4)) as (archive, entries):
            check_series(_images(archive, entries))
    elif suffix == ".dcm":
        check_dicom(path)
    elif suffix == ".nrrd":
        check_volume(nrrd_lengths(path))
    else:
        check_volume(nifti_lengths(path, packed=suffix == ".nii.gz"))
