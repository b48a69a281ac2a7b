"""No part of what says whose a scan it is survives its arrival; what the pipeline needs does."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)

from app.knee.deidentify import CannotClean, clean_scan

NAME = "Quidditch^Eleonore"
SAID = (b"quidditch", b"eleonore")
LIMIT = 200_000_000


def no_question() -> None:
    """The disk has room."""


def cleaned(folder: Path, suffix: str, content: bytes, *, limit: int = LIMIT) -> bytes:
    path = folder / "part"
    path.write_bytes(content)
    clean_scan(path, suffix, limit=limit, has_room=no_question)
    assert list(folder.iterdir()) == [path]
    return path.read_bytes()


def says_nothing(content: bytes) -> bool:
    return not any(word in content.lower() for word in SAID)


def slice_of(number: int, *, syntax: str = ExplicitVRLittleEndian, series: str = "1.2.3.4") -> Dataset:
    """A slice that says the patient's name wherever a scanner, or a person at it, may have written it."""
    found = Dataset()
    found.SOPClassUID, found.SOPInstanceUID = MRImageStorage, f"{series}.{number}"
    found.StudyInstanceUID, found.SeriesInstanceUID, found.FrameOfReferenceUID = "1.2.3", series, "1.2.9"
    found.PatientName = found.ReferringPhysicianName = found.OperatorsName = NAME
    found.PatientID = found.AccessionNumber = found.InstitutionName = found.StationName = "Quidditch-42"
    found.PatientBirthDate, found.StudyDate, found.StudyTime = "19610203", "20260102", "101112"
    found.SeriesDescription = found.ProtocolName = found.ImageComments = "knee of Eleonore"
    found.Modality, found.BodyPartExamined, found.Manufacturer = "MR", "KNEE", "GE MEDICAL SYSTEMS"
    found.EchoTime, found.RepetitionTime, found.FlipAngle, found.SliceThickness = "5.5", "20", "20", "1.5"
    found.ImagePositionPatient, found.ImageOrientationPatient = [0, 0, number * 1.5], [1, 0, 0, 0, 1, 0]
    found.InstanceNumber, found.SliceLocation, found.PixelSpacing = number, number * 1.5, [0.5, 0.5]
    found.Rows, found.Columns, found.SamplesPerPixel = 16, 16, 1
    found.PhotometricInterpretation, found.BitsAllocated, found.BitsStored = "MONOCHROME2", 16, 12
    found.HighBit, found.PixelRepresentation = 11, 0
    request = Dataset()
    request.RequestedProcedureDescription = NAME
    found.RequestAttributesSequence = [request]
    block = found.private_block(0x0019, "GEMS_ACQU_01", create=True)
    block.add_new(0xB6, "DS", "1570.5")
    block.add_new(0xB7, "DS", "1000")
    block.add_new(0xB8, "LO", NAME)
    found.private_block(0x0029, "SOMEBODY", create=True).add_new(0x10, "OB", NAME.encode() + b"\0" * 5000)
    found.add_new(0x60003000, "OW", NAME.encode())  # an overlay
    found.PixelData = np.full((16, 16), number, np.uint16).tobytes()
    found.add_new(0xFFFCFFFC, "OB", NAME.encode())  # padding behind the pixels
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = UID(syntax)
    found.file_meta.SourceApplicationEntityTitle = "ELEONORE"
    return found


def dicom(number: int = 1, *, syntax: str = ExplicitVRLittleEndian, series: str = "1.2.3.4") -> bytes:
    buffer = io.BytesIO()
    found = slice_of(number, syntax=syntax, series=series)
    found.preamble = NAME.encode().ljust(128, b"\0")
    pydicom.dcmwrite(buffer, found, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=["explicit", "implicit"])
def test_a_slice_keeps_its_image_and_geometry_and_nothing_of_the_patient(tmp_path: Path, syntax: str) -> None:
    content = dicom(7, syntax=syntax)
    assert not says_nothing(content)
    after = cleaned(tmp_path, ".dcm", content)
    assert says_nothing(after)
    found = pydicom.dcmread(io.BytesIO(after))
    before = pydicom.dcmread(io.BytesIO(content))
    assert np.array_equal(found.pixel_array, before.pixel_array)
    for word in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "EchoTime",
        "SOPClassUID",
        "Modality",
    ):
        assert found[word].value == before[word].value, word
    assert found.PatientIdentityRemoved == "YES"
    assert not {"PatientBirthDate", "StudyDate", "SeriesDescription", "OverlayData"} & set(found.dir())
    assert found.file_meta.TransferSyntaxUID == syntax


def test_of_private_elements_only_the_two_numbers_for_t2_are_kept(tmp_path: Path) -> None:
    found = pydicom.dcmread(io.BytesIO(cleaned(tmp_path, ".dcm", dicom())))
    private = {int(element.tag): element.value for element in found if element.tag.is_private}
    assert private == {0x00190010: "GEMS_ACQU_01", 0x001910B6: 1570.5, 0x001910B7: 1000}


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.comment = NAME.encode()
    return buffer.getvalue()


def members(content: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def test_a_zip_keeps_its_slices_in_order_under_numbers_and_nothing_else(tmp_path: Path) -> None:
    files = {f"Quidditch/{number:03}_Eleonore": dicom(number) for number in range(1, 13)}
    after = cleaned(tmp_path, ".zip", zipped({"Quidditch/report.txt": NAME.encode(), "DICOMDIR": b"x" * 200} | files))
    assert says_nothing(after)
    found = members(after)
    assert [name for name, _ in found] == [f"{number:06}.dcm" for number in range(3, 15)]
    assert all(says_nothing(content) for _, content in found)
    slices = [pydicom.dcmread(io.BytesIO(content)) for _, content in found]
    assert [int(each.InstanceNumber) for each in slices] == list(range(1, 13))


def test_uids_are_others_and_the_same_within_an_upload_and_no_others_next_time(tmp_path: Path) -> None:
    content = zipped({str(number): dicom(number) for number in range(3)})
    runs = [
        [pydicom.dcmread(io.BytesIO(each)) for _, each in members(cleaned(tmp_path, ".zip", content))] for _ in range(2)
    ]
    for slices in runs:
        assert len({each.SeriesInstanceUID for each in slices}) == 1
        assert len({each.SOPInstanceUID for each in slices}) == 3
        assert all(each.file_meta.MediaStorageSOPInstanceUID == each.SOPInstanceUID for each in slices)
    assert runs[0][0].SeriesInstanceUID not in ("1.2.3.4", runs[1][0].SeriesInstanceUID)
    assert runs[0][0].SeriesInstanceUID.is_valid


def test_what_is_nested_is_cleaned_as_well(tmp_path: Path) -> None:
    before = slice_of(1)
    frame, measures = Dataset(), Dataset()
    measures.PixelSpacing, measures.OperatorsName = [0.25, 0.25], NAME
    frame.PixelMeasuresSequence = [measures]
    frame.FrameComments = NAME
    before.PerFrameFunctionalGroupsSequence = [frame]
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, before, enforce_file_format=True)
    after = cleaned(tmp_path, ".dcm", buffer.getvalue())
    assert says_nothing(after)
    found = pydicom.dcmread(io.BytesIO(after)).PerFrameFunctionalGroupsSequence[0]
    assert found.PixelMeasuresSequence[0].PixelSpacing == [0.25, 0.25]


REAL = (
    "MR_small.dcm MR_small_implicit.dcm MR_small_bigendian.dcm MR_small_RLE.dcm MR_small_jp2klossless.dcm "
    "examples_overlay.dcm rtdose.dcm JPEG2000-embedded-sequence-delimiter.dcm"
)


@pytest.mark.parametrize("name", REAL.split())
def test_real_files_keep_their_pixels(tmp_path: Path, name: str) -> None:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    before = pydicom.dcmread(path)
    found = pydicom.dcmread(io.BytesIO(cleaned(tmp_path, ".dcm", Path(path).read_bytes())))
    assert found.PixelData == before.PixelData
    assert found.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
    assert found.get("NumberOfFrames") == before.get("NumberOfFrames")
    assert str(found.PatientName) == "ANONYMOUS"


def deflated() -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, slice_of(1, syntax=DeflatedExplicitVRLittleEndian), enforce_file_format=True)
    return buffer.getvalue()


def huge_header() -> bytes:
    buffer = io.BytesIO()
    found = slice_of(1, syntax=ImplicitVRLittleEndian)
    found.ImageType = ["A" * 15] * 1_100_000
    pydicom.dcmwrite(buffer, found, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("suffix", "make", "why"),
    [
        (".dcm", deflated, "deflated"),
        (".dcm", huge_header, "larger than"),
        (".dcm", lambda: b"\0" * 128 + b"DICM" + os.urandom(4000), "no image|cannot be read"),
        (".dcm", lambda: dicom()[:200], "no image|cannot be read"),
        (".zip", lambda: zipped({"a": dicom()})[:-30], "damaged"),
        (".nii", lambda: b"no scan", "not NIfTI"),
        (".nii.gz", lambda: b"no scan", "not compressed"),
        (".nrrd", lambda: b"no scan\n", "not NRRD"),
        (".nrrd", lambda: b"NRRD0004\nbyte skip: 100\n\n", "between its header"),
        (".txt", lambda: b"x", "Nobody knows"),
    ],
)
def test_what_cannot_be_cleaned_is_refused(tmp_path: Path, suffix: str, make: Callable[[], bytes], why: str) -> None:
    with pytest.raises(CannotClean, match=why):
        cleaned(tmp_path, suffix, make())


def test_what_unpacks_to_too_much_is_refused_before_it_fills_the_disk(tmp_path: Path) -> None:
    with pytest.raises(CannotClean, match="unpacks"):
        cleaned(tmp_path, ".nii.gz", gzip.compress(struct.pack("<i", 348) + bytes(50_000_000)), limit=20_000_000)
    assert (tmp_path / "clean").stat().st_size < 1_000_000


def test_a_large_scan_takes_little_memory(tmp_path: Path) -> None:
    found = slice_of(1)
    found.PixelData = bytes(60_000_000)
    path = tmp_path / "part"
    pydicom.dcmwrite(path, found, enforce_file_format=True)
    del found
    tracemalloc.start()
    clean_scan(path, ".dcm", limit=LIMIT, has_room=no_question)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize("version", [nibabel.Nifti1Image, nibabel.Nifti2Image], ids=["nifti-1", "nifti-2"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_keeps_voxels_and_space_without_texts_extensions_and_gzips_file_name(
    tmp_path: Path, version: type[nibabel.Nifti1Image], suffix: str
) -> None:
    voxels = np.arange(12**3, dtype=np.int16).reshape(12, 12, 12)
    affine = np.diag([0.5, 0.5, 1.5, 1])
    image = version(voxels, affine)
    image.header["descrip"] = image.header["aux_file"] = image.header["intent_name"] = "Eleonore"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, NAME.encode()))
    if version is nibabel.Nifti1Image:
        image.header["db_name"] = "Quidditch"
    content = image.to_bytes()
    if suffix == ".nii.gz":
        buffer = io.BytesIO()
        with gzip.GzipFile("Quidditch.nii", "wb", fileobj=buffer) as packed:
            packed.write(content)
        content = buffer.getvalue()
    after = cleaned(tmp_path, suffix, content)
    assert says_nothing(after)
    plain = gzip.decompress(after) if suffix == ".nii.gz" else after
    assert says_nothing(plain)
    found = version.from_bytes(plain)
    assert np.array_equal(np.asarray(found.dataobj), voxels)
    assert np.array_equal(found.affine, affine)
    assert len(found.header.extensions) == 0


@pytest.mark.parametrize("compressed", [True, False])
def test_nrrd_keeps_voxels_and_space_without_comments_and_pairs(tmp_path: Path, compressed: bool) -> None:
    voxels = np.arange(12**3, dtype=np.int16).reshape(12, 12, 12)
    head = (
        "NRRD0004\n# made for Eleonore\ncontent: Quidditch\ntype: int16\ndimension: 3\nsizes: 12 12 12\n"
        "space: left-posterior-superior\nspace directions: (0.5,0,0) (0,0.5,0) (0,0,1.5)\nspace origin: (1,2,3)\n"
        f"endian: little\nencoding: {'gzip' if compressed else 'raw'}\npatient:=Quidditch\n\n"
    )
    data = voxels.tobytes()
    if compressed:
        packed = gzip.compress(data)
        data = packed[:3] + bytes([8]) + packed[4:10] + b"Quidditch.raw\0" + packed[10:]
    content = head.encode() + data
    after = cleaned(tmp_path, ".nrrd", content)
    assert says_nothing(after)
    path = tmp_path / "a.nrrd"
    path.write_bytes(after)
    found = SimpleITK.ReadImage(str(path))
    assert np.array_equal(SimpleITK.GetArrayFromImage(found), voxels)
    assert (found.GetSpacing(), found.GetOrigin()) == ((0.5, 0.5, 1.5), (1, 2, 3))  # type: ignore[no-untyped-call]
