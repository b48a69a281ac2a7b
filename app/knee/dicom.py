"""Looks at the headers of DICOM files; pydicom reads them up to the image's size, which comes before the pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

from pydicom import config
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag

from app.knee.volume import NotAScan, check_volume

SLICES = 10  # that a series must have
HEADS = (64 * 1024, 1024 * 1024)  # bytes that are looked at: the second, where the first hold no image's size
MAGIC = slice(128, 132)
DEFLATED = b"1.2.840.10008.1.2.1.99"  # a transfer syntax whose header is packed: pydicom would unpack any amount of it
LAST = Tag("Columns")
TAGS: list[BaseTag | int] = [
    *(Tag("SeriesInstanceUID"), Tag("SamplesPerPixel"), Tag("NumberOfFrames"), Tag("Rows")),
    LAST,
]
config.settings.reading_validation_mode = config.IGNORE  # it would write a patient's odd values into the log


@dataclass(frozen=True, slots=True)
class Image:
    """The image in one DICOM file: its series, its pixels, and its slices."""

    series: str
    rows: int
    columns: int
    frames: int
    colour: bool


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins like this is DICOM."""
    return head[MAGIC] == b"DICM"


def _past_the_size(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return bool(tag > LAST)


def _parse(head: bytes) -> Image | None:
    try:
        found = read_partial(BytesIO(head), stop_when=_past_the_size, specific_tags=TAGS)
        if "Rows" not in found or "Columns" not in found:
            return None
        frames = int(found.get("NumberOfFrames") or 1)
        colour = int(found.get("SamplesPerPixel") or 1) > 1
        return Image(str(found.get("SeriesInstanceUID", "")), int(found.Rows), int(found.Columns), frames, colour)
    except Exception as error:  # a damaged file makes pydicom raise whatever it stumbles over
        raise NotAScan("A DICOM file cannot be read; it may be damaged or cut off.") from error


def read_image(file: IO[bytes]) -> Image | None:
    """The image that a DICOM file holds, None for one without (a report, a directory); raises NotAScan."""
    head = b""
    for size in HEADS:
        head += file.read(size - len(head))
        if DEFLATED in head:
            raise NotAScan("A DICOM file is compressed as a whole (deflated); send the series uncompressed.")
        image = _parse(head)
        if image or len(head) < size:
            return image
    return None


def check_series(images: Iterable[Image]) -> None:
    """Raises NotAScan unless the images are one series that makes a volume."""
    found = list(images)
    series = Counter(image.series for image in found)
    if not found:
        raise NotAScan("There is no DICOM image in the zip; a NIfTI or NRRD file is sent as it is.")
    if len(series) > 1:
        counts = ", ".join(str(count) for count in sorted(series.values(), reverse=True)[:8])
        raise NotAScan(f"The zip mixes {len(series)} series (of {counts} images); send one series in a zip.")
    sizes = {(image.columns, image.rows) for image in found}
    if len(sizes) > 1:
        text = ", ".join(f"{columns} x {rows}" for columns, rows in sorted(sizes)[:4])
        raise NotAScan(f"The images of the series differ in size ({text} pixels): they make no volume.")
    _check(found, "series", "")


def _check(images: list[Image], what: str, remedy: str) -> None:
    slices = sum(image.frames for image in images)
    if any(image.colour for image in images):
        raise NotAScan(f"The DICOM {what} is in colour, which no MRI is.")
    if slices < SLICES:
        count = "1 slice" if slices == 1 else f"{slices} slices"
        raise NotAScan(f"The DICOM {what} has {count}; at least {SLICES} are needed{remedy}.")
    check_volume((images[0].columns, images[0].rows, slices))


def check_dicom(path: Path) -> None:
    """Raises NotAScan unless the file alone is a volume: DICOM with many frames."""
    with path.open("rb") as file:
        if not is_dicom(file.read(MAGIC.stop)):
            raise NotAScan("The file is not DICOM: the mark DICM is missing.")
        file.seek(0)
        image = read_image(file)
    if image is None:
        raise NotAScan("The DICOM file holds no image.")
    _check([image], "file", ", so send the whole series as a .zip")
