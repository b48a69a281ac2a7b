"""Looks at the header of a NRRD file, with the standard library: text up to an empty line, then the voxels."""

from __future__ import annotations

import re
from pathlib import Path

from app.knee.volume import NotAScan

HEADER = 64 * 1024  # bytes that a header may have
MAGIC = re.compile(r"NRRD000[1-5]")


def _fields(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        head = file.read(HEADER)
    text, end, _ = head.replace(b"\r\n", b"\n").partition(b"\n\n")
    first, *lines = text.decode("utf-8", "replace").split("\n")
    if not MAGIC.fullmatch(first):
        raise NotAScan("The file is not NRRD: it does not begin with NRRD.")
    # `key:=value` are the users' own; a detached header ends without an empty line.
    fields = dict(line.split(": ", 1) for line in lines if ": " in line and not line.startswith("#"))
    fields = {name.lower().replace(" ", ""): value.strip() for name, value in fields.items()}
    if "datafile" in fields:
        raise NotAScan("The NRRD file is only a header; send the scan as one file with its data (.nrrd, not .nhdr).")
    if not end:
        raise NotAScan("The NRRD header has no end; the file is damaged or cut off.")
    return fields


def nrrd_lengths(path: Path) -> tuple[int, ...]:
    """The lengths of the axes that the file's header gives; raises NotAScan."""
    sizes = _fields(path).get("sizes", "").split()
    return tuple(int(size) for size in sizes) if all(re.fullmatch(r"\d{1,9}", size) for size in sizes) else ()
