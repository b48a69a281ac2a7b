"""One way for every kind of scan: written anew beside the upload, which it then replaces."""

from __future__ import annotations

import secrets
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from app.knee.deidentify.copying import TOO_MUCH, Bounds, CannotClean, Writer, copy
from app.knee.deidentify.dicom import MAGIC, Uids, clean_dicom, is_dicom
from app.knee.deidentify.nifti import clean_nifti
from app.knee.deidentify.nrrd import clean_nrrd

IN_MEMORY = 4 * 1024 * 1024  # bytes of a slice; a longer one waits on disk


def clean_scan(path: Path, suffix: str, *, limit: int, has_room: Callable[[], None]) -> None:
    """Take everything personal out of the scan at `path`, which may have `limit` bytes unpacked.

    The file is replaced as a whole or not at all. Raises CannotClean, and what `has_room` raises.
    """
    clean, bounds = path.with_name("clean"), Bounds(limit, has_room)
    with path.open("rb") as source, clean.open("wb") as out:
        try:
            if suffix == ".zip":
                _clean_zip(source, out, bounds, path.parent)
            else:
                _clean_file(source, Writer(out, bounds), suffix)
        except (zipfile.BadZipFile, zlib.error, EOFError, struct.error) as error:
            raise CannotClean("The file is damaged or was cut off.") from error
    clean.replace(path)


def _clean_file(source: IO[bytes], out: Writer, suffix: str) -> None:
    if suffix == ".dcm":
        if not clean_dicom(source, out, _uids()):
            raise CannotClean("The DICOM file holds no image.")
    elif suffix == ".nrrd":
        clean_nrrd(source, out)
    elif suffix in (".nii", ".nii.gz"):
        clean_nifti(source, out, packed=suffix == ".nii.gz")
    else:
        raise CannotClean(f"Nobody knows what is personal in a {suffix} file.")


def _uids() -> Uids:
    return Uids(secrets.token_bytes(32))


def _clean_zip(source: IO[bytes], out: IO[bytes], bounds: Bounds, folder: Path) -> None:
    """The images, in their order, under numbers for names; whatever else lies in the zip is left out."""
    uids = _uids()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
        entries = [entry for entry in old.infolist() if not entry.is_dir()]
        if sum(entry.file_size for entry in entries) > bounds.limit:
            raise CannotClean(TOO_MUCH)
        for number, entry in enumerate(entries, 1):
            with _spool(folder) as slice_, _spool(folder) as clean:
                with old.open(entry) as member:
                    head = member.read(MAGIC.stop)
                    slice_.write(head)
                    if is_dicom(head):
                        copy(member, Writer(slice_, bounds))
                slice_.seek(0)
                if is_dicom(head) and clean_dicom(slice_, Writer(clean, bounds), uids):
                    clean.seek(0)
                    with new.open(f"{number:06}.dcm", "w", force_zip64=True) as member:
                        copy(clean, Writer(member, bounds))


def _spool(folder: Path) -> tempfile.SpooledTemporaryFile[bytes]:
    return tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(folder))
