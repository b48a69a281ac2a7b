"""Looks at the header of a NIfTI file, with the standard library: the web process never reads voxels."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

from app.knee.volume import NotAScan

HEADER = 540  # bytes, of the longer of the two versions
SHAPES = {348: ("8h", 40), 540: ("8q", 16)}  # NIfTI-1 and -2, by the header's size: type and place of `dim`


def _head(path: Path, *, packed: bool) -> bytes:
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            return file.read(HEADER)
    except (OSError, EOFError, zlib.error) as error:
        raise NotAScan("The file is named .nii.gz but is damaged or not compressed with gzip.") from error


def _lengths(head: bytes) -> tuple[int, ...]:
    for order in "<>":
        size = struct.unpack_from(f"{order}i", head)[0] if len(head) >= 4 else 0
        if size in SHAPES and len(head) >= size - 192:
            kind, place = SHAPES[size]
            axes, *lengths = struct.unpack_from(f"{order}{kind}", head, place)
            return tuple(lengths[:axes]) if 1 <= axes <= 7 else ()
    raise NotAScan("The file is not NIfTI: it has no NIfTI header.")


def nifti_lengths(path: Path, *, packed: bool) -> tuple[int, ...]:
    """The lengths of the axes that the file's header gives; raises NotAScan."""
    return _lengths(_head(path, packed=packed))
