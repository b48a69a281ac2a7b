"""DICOM without what says whose it is: the elements of `kept`, other UIDs, no private ones, the pixels as they were."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import IO, BinaryIO, cast

from pydicom import config, dcmwrite, uid
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from app.knee.deidentify.copying import CannotClean, Counted, Writer, copy
from app.knee.deidentify.kept import KEPT_TAGS, PRIVATE_MARK, PRIVATE_NUMBERS, REPLACED_TAGS

HEADER = 16 * 1024 * 1024  # bytes of a file besides its pixels that are read at most
PIXELS = 0x7FE00010
ITEM_END = 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF
STANDARD = "1.2.840.10008."  # UIDs of the standard itself, which name no patient
METHOD = "Only image elements kept, UIDs replaced (PS3.15 E.1-1)"
MAGIC = slice(128, 132)
config.settings.reading_validation_mode = config.IGNORE  # it would write a patient's odd values into the log


@dataclass(frozen=True, slots=True)
class Uids:
    """Gives each UID another one, the same within an upload. The salt is forgotten with the upload."""

    salt: bytes

    def replace(self, old: str) -> str:
        """The new UID: one of those that are made of a UUID (PS3.5 B.2)."""
        if old.startswith(STANDARD):
            return old
        number = hashlib.blake2b(old.encode(), key=self.salt, digest_size=16).digest()
        return f"2.25.{int.from_bytes(number)}"


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins like this is DICOM."""
    return head[MAGIC] == b"DICM"


def clean_dicom(source: IO[bytes], out: Writer, uids: Uids) -> bool:
    """Write `source` anew without its personal parts; False, and nothing written, where it holds no image.

    Raises CannotClean. Memory: the elements that are kept, 16 MiB at most, and one piece of the pixels.
    """
    try:
        found = _read(source)
        if "Rows" not in found or "Columns" not in found:
            return False
        implicit, little = found.original_encoding
        header = _header(found, uids, implicit=bool(implicit), little=bool(little))
    except CannotClean:
        raise
    except Exception as error:  # a damaged file makes pydicom raise whatever it stumbles over
        raise CannotClean("A DICOM file cannot be read; it may be damaged or cut off.") from error
    out.write(header)
    _copy_pixels(source, out, implicit=bool(implicit), little=bool(little))
    return True


def _read(source: IO[bytes]) -> Dataset:
    wanted: list[BaseTag | int] = [*KEPT_TAGS, PRIVATE_MARK[0], *PRIVATE_NUMBERS]

    def at_pixels(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        return bool(tag >= PIXELS)

    counted = cast("BinaryIO", Counted(source, HEADER))  # all of a file that pydicom uses
    return read_partial(counted, stop_when=at_pixels, specific_tags=wanted)


def _header(found: Dataset, uids: Uids, *, implicit: bool, little: bool) -> bytes:
    """Everything up to the pixels."""
    clean = _clean(found, uids)
    clean.PatientName, clean.PatientID = "ANONYMOUS", ""  # an image without them is not valid
    clean.PatientIdentityRemoved, clean.DeidentificationMethod = "YES", METHOD
    for element in _private_numbers(found):
        clean.add(element)
    clean.file_meta = FileMetaDataset()
    clean.file_meta.TransferSyntaxUID = _syntax(found, implicit=implicit, little=little)
    clean.file_meta.MediaStorageSOPClassUID = clean.get("SOPClassUID", uid.MRImageStorage)
    clean.file_meta.MediaStorageSOPInstanceUID = clean.get("SOPInstanceUID", uids.replace(""))
    buffer = BytesIO()
    dcmwrite(buffer, clean, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    return buffer.getvalue()


def _syntax(found: Dataset, *, implicit: bool, little: bool) -> uid.UID:
    named = uid.UID(str(found.file_meta.get("TransferSyntaxUID", "")))
    if not named:
        plain = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        return uid.ImplicitVRLittleEndian if implicit else plain
    if named not in uid.AllTransferSyntaxes:
        raise CannotClean("A DICOM file is written in a transfer syntax that this site does not know.")
    return named


def _clean(found: Dataset, uids: Uids) -> Dataset:
    """The elements that are kept, at every depth."""
    clean = Dataset()
    for tag in sorted(KEPT_TAGS.intersection(found.keys())):
        try:
            element = found[tag]
            # An element of another type than its tag has could hold anything.
            if element.VR not in dictionary_VR(tag).split(" or "):
                continue
            value = _value(element, uids)
        except (ValueError, TypeError, NotImplementedError):  # not what its type says: it is not kept
            continue
        clean.add(DataElement(tag, element.VR, value))
    return clean


def _value(element: DataElement, uids: Uids) -> object:
    if element.VR == "SQ":
        return [_clean(item, uids) for item in element.value]
    if element.tag in REPLACED_TAGS:
        return uids.replace(str(element.value))
    return element.value


def _private_numbers(found: Dataset) -> Iterator[DataElement]:
    place, mark = PRIVATE_MARK
    if place not in found or str(found[place].value).strip() != mark:
        return
    yield DataElement(place, "LO", mark)
    for tag in PRIVATE_NUMBERS:
        with suppress(KeyError, ValueError, TypeError):
            value = found[tag].value
            text = value.decode("ascii") if isinstance(value, bytes) else str(value)
            yield DataElement(tag, "DS", f"{float(text):.10g}")


# ---- the pixels -----------------------------------------------------------------------------------------------------


def _copy_pixels(source: IO[bytes], out: Writer, *, implicit: bool, little: bool) -> None:
    """Copy the one element of the pixels, and nothing of what may stand behind it."""
    order = "<" if little else ">"
    head = source.read(8 if implicit else 12)
    if len(head) < (8 if implicit else 12):
        return
    group, number = struct.unpack_from(f"{order}HH", head)
    if group << 16 | number != PIXELS:
        return
    out.write(head)
    (length,) = struct.unpack_from(f"{order}L", head, len(head) - 4)
    if length != UNDEFINED:
        copy(source, out, length)
        return
    for item in _items(source, order):
        out.write(item)
        copy(source, out, struct.unpack_from(f"{order}L", item, 4)[0])


def _items(source: IO[bytes], order: str) -> Iterator[bytes]:
    """The heads of the pieces of compressed pixels; the one that says that it was the last is among them."""
    while len(head := source.read(8)) == 8:
        group, number, length = struct.unpack(f"{order}HHL", head)
        if length == UNDEFINED:
            raise CannotClean("The pixels of a DICOM file are damaged.")
        yield head
        if group << 16 | number == ITEM_END:
            return
