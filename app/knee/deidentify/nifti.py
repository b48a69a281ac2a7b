"""NIfTI without its free texts, its extensions (which may hold a whole DICOM header), and gzip's stored file name."""

from __future__ import annotations

import gzip
import struct
from typing import IO

from app.knee.deidentify.copying import CannotClean, Packed, Source, Writer, copy

# By the header's size: where the texts are (data_type, db_name, descrip, aux_file, intent_name), and `vox_offset`.
TEXTS = {
    348: ((4, 10), (14, 18), (148, 80), (228, 24), (328, 16)),
    540: ((240, 80), (320, 24), (508, 16)),
}
OFFSET = {348: ("f", 108), 540: ("q", 168)}
EXTENDER = 4  # bytes behind the header that say whether extensions follow
BETWEEN = 16 * 1024 * 1024  # bytes that extensions may have


def clean_nifti(source: IO[bytes], out: Writer, *, packed: bool) -> None:
    """Write the scan anew: the header without texts, nothing between it and the voxels, the voxels as they were."""
    if not packed:
        _clean(source, out)
        return
    try:
        with gzip.open(source) as unpacked:
            target = Packed(out)
            _clean(unpacked, Writer(target, out.bounds))
            target.close()
    except gzip.BadGzipFile as error:
        raise CannotClean("The file is named .nii.gz but is not compressed with gzip.") from error


def _clean(source: Source, out: Writer) -> None:
    start = source.read(4)
    order = next((order for order in "<>" if struct.unpack(f"{order}i", start)[0] in TEXTS), None)
    if order is None:
        raise CannotClean("The file is not NIfTI: it has no NIfTI header.")
    (size,) = struct.unpack(f"{order}i", start)
    header = bytearray(start + source.read(size - 4))
    kind, place = OFFSET[size]
    offset = max(int(struct.unpack_from(f"{order}{kind}", header, place)[0]), size)
    if offset - size > BETWEEN:
        raise CannotClean("The NIfTI file has more between header and voxels than this site takes.")
    for text, length in TEXTS[size]:
        header[text : text + length] = bytes(length)
    out.write(bytes(header))
    between = source.read(offset - size)
    out.write(bytes(len(between)))
    copy(source, out)
