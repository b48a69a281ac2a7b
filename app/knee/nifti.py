"""Looks at the header of a NIfTI file, with the standard library: the web process never reads voxels."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

SMALLEST = 10  # pixels along each axis
HEADER = 540  # bytes, of the longer of the two versions
SHAPES = {348: ("8h", 40), 540: ("8q", 16)}  # NIfTI-1 and -2, by the header's size: type and place of `dim`


class NotAScan(ValueError):
    """The file is no scan that the pipeline can use; the message says why, to its user."""


def _head(path: Path, *, packed: bool) -> bytes:
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            return file.read(HEADER)
    except (OSError, EOFError, zlib.error) as error:
        raise NotAScan("The file is named .nii.gz but is damaged or not compressed with gzip.") from error


def shape(head: bytes) -> tuple[int, ...]:
    """The lengths of the axes that a NIfTI header gives; raises NotAScan."""
    for order in "<>":
        size = struct.unpack_from(f"{order}i", head)[0] if len(head) >= 4 else 0
        if size in SHAPES and len(head) >= size - 192:
            kind, place = SHAPES[size]
            axes, *lengths = struct.unpack_from(f"{order}{kind}", head, place)
            return tuple(lengths[:axes]) if 1 <= axes <= 7 else ()
    raise NotAScan("The file is not NIfTI: it has no NIfTI header.")


def check_scan(path: Path, *, packed: bool) -> tuple[int, ...]:
    """The shape of a 3-D volume of at least 10 pixels along each axis; raises NotAScan for anything else."""
    lengths = shape(_head(path, packed=packed))
    while len(lengths) > 3 and lengths[-1] == 1:
        lengths = lengths[:-1]
    text = " x ".join(map(str, lengths)) or "no valid size"
    if len(lengths) != 3:
        raise NotAScan(f"The scan must have three dimensions; this file has {text}.")
    if min(lengths) < SMALLEST:
        raise NotAScan(f"The scan must have at least {SMALLEST} pixels along each axis; this one has {text}.")
    return lengths
