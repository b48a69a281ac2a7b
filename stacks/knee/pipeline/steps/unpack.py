"""Unpacks an archive of a DICOM series: by numbers, never by the names that are in it, and within limits."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from steps.contract import StepFailed

MOST_FILES = 10_000
MOST_BYTES = 4 * 2**30  # unpacked
BLOCK = 2**20
DAMAGED = "The zip archive is damaged, cut off or encrypted."


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins so is DICOM."""
    return head[128:132] == b"DICM"


def unpack(archive: Path, folder: Path, most_bytes: int = MOST_BYTES) -> int:
    """Write the archive's DICOM files into the folder, each as a number, and give how many; raises StepFailed."""
    count, left = 0, most_bytes
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in _files(opened):
                with opened.open(member) as source:
                    head = source.read(BLOCK)
                    if not is_dicom(head):
                        continue
                    count += 1
                    left = _write(folder / f"{count:05}.dcm", head, source, left)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError) as error:
        raise StepFailed("INVALID_FORMAT", DAMAGED) from error
    return count


def _files(archive: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > MOST_FILES:
        raise StepFailed("INVALID_FORMAT", f"The zip archive has more than {MOST_FILES} files.")
    yield from members


def _write(path: Path, head: bytes, source: IO[bytes], left: int) -> int:
    """Write one file and give how many bytes are left; what an archive says of its sizes is not believed."""
    with path.open("wb") as out:
        block = head
        while block:
            left -= len(block)
            if left < 0:
                raise StepFailed("INVALID_FORMAT", "The zip archive is too large when it is unpacked.")
            out.write(block)
            block = source.read(BLOCK)
    return left
