"""Small files of every kind that may be uploaded, right and wrong, made on the spot; and real ones out of packages."""

from __future__ import annotations

import gzip
import io
import random
import stat
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import nibabel
import pydicom.data
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, MRImageStorage, generate_uid

PYDICOM = Path(str(pydicom.data.__file__)).parent / "test_files"
NIBABEL = Path(nibabel.__file__).parent
SERIES = "1.2.826.0.1.3680043.8.498.1"


def nifti(*lengths: int, order: str = "<", size: int = 348) -> bytes:
    """The header of a NIfTI file of these lengths, without voxels."""
    data = bytearray(size + 4)
    struct.pack_into(f"{order}i", data, 0, size)
    kind, place = ("8h", 40) if size == 348 else ("8q", 16)
    dim = [len(lengths), *lengths, *[1] * (7 - len(lengths))]
    struct.pack_into(f"{order}{kind}", data, place, *dim)
    return bytes(data)


def packed(content: bytes) -> bytes:
    """The content, compressed with gzip."""
    return gzip.compress(content, mtime=0)


def nrrd(sizes: str = "12 12 12", *more: str) -> bytes:
    """A NRRD file whose header says these sizes, and these lines besides."""
    count = len(sizes.split())
    lines = ["NRRD0004", "# by a test", "type: short", f"dimension: {count}", f"sizes: {sizes}", *more]
    return "\n".join([*lines, "encoding: raw", "", ""]).encode() + bytes(100)


def dicom(
    number: int = 1,
    *,
    series: str = SERIES,
    rows: int = 12,
    columns: int = 12,
    image: bool = True,
    deflated: bool = False,
    **more: object,
) -> bytes:
    """A DICOM file: one slice of an MRI, or one without an image."""
    found = Dataset()
    found.PatientName = "Test^Patient"
    found.SOPClassUID, found.SOPInstanceUID, found.SeriesInstanceUID = MRImageStorage, generate_uid(), series
    found.InstanceNumber = number
    found.ImagePositionPatient = [0, 0, number]
    if image:
        found.Rows, found.Columns, found.SamplesPerPixel, found.BitsAllocated = rows, columns, 1, 16
    for name, value in more.items():
        setattr(found, name, value)
    if image:
        found.PixelRepresentation, found.PhotometricInterpretation = 0, "MONOCHROME2"
        found.BitsStored, found.HighBit = 16, 15
        found.PixelData = bytes(2 * rows * columns * int(found.get("NumberOfFrames", 1)))
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian if deflated else ExplicitVRLittleEndian
    out = io.BytesIO()
    pydicom.dcmwrite(out, found, enforce_file_format=True)
    return out.getvalue()


def series(count: int = 12, uid: str = SERIES, columns: int = 12) -> dict[str, bytes]:
    """The files of a DICOM series by name."""
    return {
        f"series-{uid[-4:]}/{number:04}": dicom(number, series=uid, columns=columns) for number in range(1, count + 1)
    }


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            # writestr would take the leading slash off a plain name
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


def with_link(files: Mapping[str, bytes], name: str, target: str) -> bytes:
    """A zip of these files and of a symbolic link."""
    out = io.BytesIO(zipped(files))
    with zipfile.ZipFile(out, "a") as archive:
        link = zipfile.ZipInfo(name)
        link.create_system = 3
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, target)
    return out.getvalue()


def encrypted(files: Mapping[str, bytes]) -> bytes:
    """A zip whose entries say that they are encrypted, which is all that a reader sees without the password."""
    data = bytearray(zipped(files))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(mark)
        while at >= 0:
            data[at + place] |= 1
            at = data.find(mark, at + 4)
    return bytes(data)


def bomb(size: int, noise: int = 0) -> bytes:
    """A small zip of one huge file of zeros, of a good series, and of bytes that cannot be packed."""
    return zipped(series() | {"zeros": bytes(size), "noise": random.Random(1).randbytes(noise)})


def real_dicom(names: Iterable[str]) -> dict[str, bytes]:
    """DICOM files of pydicom's own tests by name."""
    return {name: (PYDICOM / name).read_bytes() for name in names}


def real_series(count: int) -> dict[str, bytes]:
    """A series made of a real MRI slice of pydicom's: only number and place differ."""
    found = pydicom.dcmread(PYDICOM / "MR_small.dcm")
    files = {}
    for number in range(1, count + 1):
        found.InstanceNumber, found.ImagePositionPatient = number, [0, 0, number]
        found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        out = io.BytesIO()
        found.save_as(out)
        files[f"DICOM/IM{number:06}"] = out.getvalue()
    return files


def real_multiframe() -> bytes:
    """A real MRI volume in one DICOM file (Philips MPRAGE, of nibabel's tests)."""
    return gzip.decompress((NIBABEL / "nicom/tests/data/philips_mprage.dcm.gz").read_bytes())
