"""NRRD without comments, key/value pairs and free texts, and without the file name that gzip may have stored."""

from __future__ import annotations

import struct
from typing import IO

from app.knee.deidentify.copying import CannotClean, Writer, copy

HEADER = 64 * 1024  # bytes
# The fields that say how the voxels lie, by their names in lower case and without spaces. Not `content`, `labels`.
KEPT = frozenset(
    {
        *("type", "dimension", "sizes", "encoding", "endian", "blocksize", "min", "max", "oldmin", "oldmax"),
        *("space", "spacedimension", "spaceorigin", "spacedirections", "spaceunits", "measurementframe"),
        *("spacings", "thicknesses", "axismins", "axismaxs", "centers", "centerings", "kinds", "units"),
    }
)
SKIPS = frozenset({"lineskip", "byteskip"})
GZIP = b"\x1f\x8b\x08"
EXTRA, NAME, COMMENT, CHECKED = 4, 8, 16, 2  # flags of a gzip header


def clean_nrrd(source: IO[bytes], out: Writer) -> None:
    """Write the scan anew: only the fields that say how the voxels lie, and the voxels as they were."""
    first = source.readline(HEADER)
    if not first.startswith(b"NRRD"):
        raise CannotClean("The file is not NRRD: it does not begin with NRRD.")
    lines, encoding = [first.rstrip(b"\r\n")], ""
    while line := source.readline(HEADER).rstrip(b"\r\n"):
        name, separator, value = line.partition(b": ")
        field = name.decode("utf-8", "replace").lower().replace(" ", "")
        if line.startswith(b"#") or not separator or b":=" in name:
            continue
        if field in SKIPS and value.strip() != b"0":
            raise CannotClean("The NRRD file has something between its header and its voxels; write it without.")
        if field in KEPT:
            lines.append(line)
        encoding = value.strip().decode("utf-8", "replace").lower() if field == "encoding" else encoding
        if source.tell() > HEADER:
            raise CannotClean("The NRRD header is larger than this site takes.")
    out.write(b"\n".join(lines) + b"\n\n")
    if encoding in ("gzip", "gz"):
        _copy_gzip_header(source, out)
    copy(source, out)


def _copy_gzip_header(source: IO[bytes], out: Writer) -> None:
    """Read gzip's header with all that it may hold, write one that holds nothing; what follows is the same."""
    head = source.read(10)
    if len(head) < 10 or not head.startswith(GZIP):
        return  # cut off: nothing is left that could name anybody
    flags = head[3]
    if flags & EXTRA:
        source.read(struct.unpack("<H", source.read(2))[0])
    for flag in (NAME, COMMENT):
        if flags & flag:
            _skip_text(source)
    if flags & CHECKED:
        source.read(2)
    out.write(GZIP + b"\0\0\0\0\0\0\xff")


def _skip_text(source: IO[bytes]) -> None:
    for _ in range(HEADER):
        if source.read(1) in (b"\0", b""):
            return
    raise CannotClean("The NRRD file is damaged.")
