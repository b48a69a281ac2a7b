"""Every kind of bad input has its documented answer, and leaves nothing behind; good ones of every kind come in."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.knee.web import create_app
from tests.unit.app.places import REPOSITORY
from tests.unit.app.running_site import PHANTOM, knee_pipeline, site_environment
from tests.unit.app.scans import (
    NIBABEL,
    PYDICOM,
    bomb,
    dicom,
    encrypted,
    nifti,
    nrrd,
    packed,
    real_dicom,
    real_multiframe,
    real_series,
    series,
    with_link,
    zipped,
)
from tests.unit.app.uploads import LIMIT, upload, uploads

NIFTI = NIBABEL / "tests/data"
REFERENCE = REPOSITORY / "docs/reference/api.md"
Make = Callable[[], bytes]

# What is sent (name, content), and what is answered: the status and a part of the text. A row of the reference each.
BAD: dict[str, tuple[str, Make, int, str]] = {
    "another suffix": ("a.txt", lambda: b"x", 400, "This kind of file is not accepted"),
    "no suffix": ("a", lambda: nifti(12, 12, 12), 400, "This kind of file is not accepted"),
    "empty": ("a.nii.gz", bytes, 400, "The file is empty"),
    "no NIfTI": ("a.nii", lambda: b"hello", 400, "The file is not NIfTI"),
    "NIfTI header cut off": ("a.nii", lambda: nifti(12, 12, 12)[:100], 400, "The file is not NIfTI"),
    "gzip named .nii": ("a.nii", lambda: packed(nifti(12, 12, 12)), 400, "The file is not NIfTI"),
    ".nii.gz not gzip": ("a.nii.gz", lambda: nifti(12, 12, 12), 400, "damaged or not compressed with gzip"),
    ".nii.gz cut off": ("a.nii.gz", lambda: packed(nifti(12, 12, 12))[:20], 400, "damaged or not compressed with gzip"),
    "two dimensions": ("a.nii", lambda: nifti(12, 12), 400, "must have three dimensions; this file has 12 x 12"),
    "four dimensions": ("a.nii", lambda: nifti(12, 12, 12, 2), 400, "three dimensions; this file has 12 x 12 x 12 x 2"),
    "under 10 pixels": ("a.nii", lambda: nifti(12, 9, 12), 400, "at least 10 pixels along each axis"),
    "a negative length": ("a.nii", lambda: nifti(12, -12, 12), 400, "at least 10 pixels along each axis"),
    "no NRRD": ("a.nrrd", lambda: b"hello", 400, "The file is not NRRD"),
    "NRRD header alone": ("a.nrrd", lambda: nrrd("12 12 12", "data file: a.raw"), 400, "only a header"),
    "NRRD header cut off": ("a.nrrd", lambda: nrrd()[:50], 400, "The NRRD header has no end"),
    "NRRD in 2-D": ("a.nrrd", lambda: nrrd("12 12"), 400, "three dimensions; this file has 12 x 12"),
    "NRRD without sizes": ("a.nrrd", lambda: nrrd("twelve"), 400, "three dimensions; this file has no valid size"),
    "NRRD too small": ("a.nrrd", lambda: nrrd("12 9 12"), 400, "at least 10 pixels along each axis"),
    "no DICOM": ("a.dcm", lambda: b"x" * 200, 400, "The file is not DICOM"),
    "one DICOM slice": ("a.dcm", dicom, 400, "The DICOM file has 1 slice; at least 10 are needed, so send the whole"),
    "few DICOM frames": ("a.dcm", lambda: dicom(NumberOfFrames=9), 400, "The DICOM file has 9 slices"),
    "DICOM without image": ("a.dcm", lambda: dicom(image=False), 400, "The DICOM file holds no image"),
    "DICOM too small": ("a.dcm", lambda: dicom(NumberOfFrames=12, rows=9), 400, "at least 10 pixels along each axis"),
    "DICOM in colour": ("a.dcm", lambda: dicom(NumberOfFrames=12, SamplesPerPixel=3), 400, "is in colour"),
    "damaged DICOM": ("a.dcm", (PYDICOM / "badVR.dcm").read_bytes, 400, "A DICOM file cannot be read"),
    "deflated DICOM": ("a.dcm", lambda: dicom(deflated=True), 400, "compressed as a whole (deflated)"),
    "no zip": ("a.zip", lambda: b"PK\x03\x04" + b"x" * 200, 400, "The zip is damaged or was cut off"),
    "truncated zip": ("a.zip", lambda: zipped(series())[:-30], 400, "The zip is damaged or was cut off"),
    "damaged zip": (
        "a.zip",
        lambda: zipped(series(), zipfile.ZIP_DEFLATED).replace(b"\x78", b"\x77"),
        400,
        "The zip is damaged or was cut off",
    ),
    "empty zip": ("a.zip", lambda: zipped({}), 400, "There is no DICOM image in the zip"),
    "zip without DICOM": ("a.zip", lambda: zipped({"a.txt": b"x", "b.nii": nifti(12, 12, 12)}), 400, "no DICOM image"),
    "zip bomb by size": ("a.zip", lambda: bomb(4 * LIMIT, noise=LIMIT // 15), 400, "which is too much for its size"),
    "zip bomb by ratio": ("a.zip", lambda: bomb(LIMIT), 400, "which is too much for its size"),
    "ten thousand files": ("a.zip", lambda: zipped({f"{i}": b"" for i in range(10_000)}), 400, "holds 10000 files"),
    "zip with ../": ("a.zip", lambda: zipped(series() | {"../../evil": b"x"}), 400, "a path that leads out of it"),
    "zip with ..\\": (
        "a.zip",
        lambda: zipped(series() | {"a\\..\\..\\evil": b"x"}),
        400,
        "a path that leads out of it",
    ),
    "absolute path": ("a.zip", lambda: zipped(series() | {"/etc/cron.d/evil": b"x"}), 400, "an absolute path"),
    "path with a drive": ("a.zip", lambda: zipped(series() | {"C:\\evil": b"x"}), 400, "an absolute path"),
    "link in a zip": ("a.zip", lambda: with_link(series(), "evil", "/etc/passwd"), 400, "a link or something else"),
    "zip in a zip": ("a.zip", lambda: zipped(series() | {"inner.zip": zipped(series())}), 400, "another archive"),
    "tar in a zip": ("a.zip", lambda: zipped(series() | {"inner.tar.gz": b"x"}), 400, "another archive"),
    "hidden zip in a zip": ("a.zip", lambda: zipped(series() | {"inner": zipped(series())}), 400, "another archive"),
    "encrypted zip": ("a.zip", lambda: encrypted(series()), 400, "The zip is encrypted"),
    "unusual packing": ("a.zip", lambda: zipped(series(), zipfile.ZIP_LZMA), 400, "by an unusual method"),
    "few slices": ("a.zip", lambda: zipped(series(9)), 400, "The DICOM series has 9 slices; at least 10 are needed"),
    "mixed series": ("a.zip", lambda: zipped(series() | series(3, "1.2.3.4")), 400, "mixes 2 series (of 12, 3 images)"),
    "mixed sizes": ("a.zip", lambda: zipped(series() | {"x": dicom(13, rows=16)}), 400, "differ in size"),
    "small slices": ("a.zip", lambda: zipped(series(columns=9)), 400, "at least 10 pixels along each axis"),
    "over the limit": ("a.nii", lambda: nifti(12, 12, 12) + bytes(LIMIT), 413, "The file is larger than"),
}

GOOD: dict[str, tuple[str, Make]] = {
    "phantom": ("knee.nii.gz", PHANTOM.read_bytes),
    "smallest NIfTI": ("a.nii", lambda: nifti(10, 11, 12)),
    "NIfTI with an axis of one": ("A.NII", lambda: nifti(10, 11, 12, 1)),
    "big-endian NIfTI": ("a.nii", lambda: nifti(10, 11, 12, order=">")),
    "NIfTI-2": ("a.nii", lambda: nifti(64, 64, 20, size=540)),
    "NRRD": ("a.nrrd", nrrd),
    "NRRD with Windows' line ends": ("a.nrrd", lambda: nrrd().replace(b"\n", b"\r\n")),
    "DICOM series": ("a.zip", lambda: zipped(series(10))),
    "stored DICOM series": ("a.zip", lambda: zipped(series(10), zipfile.ZIP_STORED)),
    "DICOM series with a report and clutter": (
        "a.ZIP",
        lambda: zipped(
            series() | {"report": dicom(image=False), "DICOMDIR": b"", "readme.txt": b"hello", "__MACOSX/._a": b"x"}
        ),
    ),
    "DICOM with many frames": ("a.dcm", lambda: dicom(NumberOfFrames=10)),
    "many frames in a zip": ("a.zip", lambda: zipped({"a": dicom(NumberOfFrames=10)})),
    "real MRI series": ("a.zip", lambda: zipped(real_series(12))),
    "real RT dose with frames": ("a.dcm", (PYDICOM / "rtdose.dcm").read_bytes),
    "real anatomical NIfTI": ("a.nii", (NIFTI / "anatomical.nii").read_bytes),
}

# Real files out of pydicom's and nibabel's own tests, and what is wrong with them.
REAL: dict[str, tuple[str, Make, str]] = {
    "CT slice": ("a.dcm", (PYDICOM / "CT_small.dcm").read_bytes, "has 1 slice"),
    "cut-off MR slice": ("a.dcm", (PYDICOM / "MR_truncated.dcm").read_bytes, "has 1 slice"),
    "big-endian MR slice": ("a.dcm", (PYDICOM / "MR_small_bigendian.dcm").read_bytes, "has 1 slice"),
    "deflated image": ("a.dcm", (PYDICOM / "image_dfl.dcm").read_bytes, "deflated"),
    "report": ("a.dcm", (PYDICOM / "test-SR.dcm").read_bytes, "holds no image"),
    "no mark": ("a.dcm", (PYDICOM / "no_meta.dcm").read_bytes, "is not DICOM"),
    "two series": ("a.zip", lambda: zipped(real_dicom(["MR_small.dcm", "CT_small.dcm"])), "mixes 2 series"),
    "short series": ("a.zip", lambda: zipped(real_series(7)), "has 7 slices"),
    "functional NIfTI": ("a.nii", (NIFTI / "functional.nii").read_bytes, "17 x 21 x 3 x 20"),
    "4-D NIfTI-2": (
        "a.nii.gz",
        (NIFTI / "example_nifti2.nii.gz").read_bytes,
        "32 x 20 x 12 x 2",
    ),
    "small NIfTI": ("a.nii.gz", (NIFTI / "standard.nii.gz").read_bytes, "has 4 x 5 x 7"),
}


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of one site for all inputs: no case has a ledger of its own."""
    return tmp_path_factory.mktemp("inputs") / "state"


@pytest.fixture(scope="module")
def client(state: Path) -> Iterator[TestClient]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in site_environment(state.parent, knee_pipeline()).items():
            patch.setenv(name, value)
        patch.setenv("FARRIER_UPLOAD_LIMIT", str(LIMIT))
        yield TestClient(create_app())


def files(state: Path) -> set[Path]:
    return {path for path in state.parent.rglob("*") if path.is_file() and not path.name.startswith("ledger.")}


@pytest.mark.parametrize(("name", "make", "status", "text"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_as_documented_and_leaves_nothing(
    client: TestClient, state: Path, name: str, make: Make, status: int, text: str
) -> None:
    before = files(state)
    code, body = upload(client, name, make())
    assert (code, text in body["detail"]) == (status, True), body
    assert files(state) == before


@pytest.mark.parametrize(("name", "make"), GOOD.values(), ids=GOOD)
def test_good_input_is_accepted_and_stored_as_one_file(client: TestClient, state: Path, name: str, make: Make) -> None:
    content, before = make(), files(state)
    code, body = upload(client, name, content)
    assert code == 201, body
    (stored,) = files(state) - before
    assert stored == state / "uploads" / body["job_id"] / ("input" + name.lower()[name.index(".") :])


@pytest.mark.parametrize(
    "name",
    ["../../../evil.nii", "/evil.nii", "..\\..\\evil.nii", "uploads/../../evil.nii", "a\x00b.nii", "é" * 300 + ".nii"],
)
def test_name_of_the_file_never_becomes_a_path(client: TestClient, state: Path, name: str) -> None:
    before = files(state)
    code, body = upload(client, name, nifti(10, 11, 12))
    assert code == 201, body
    assert files(state) - before == {state / "uploads" / body["job_id"] / "input.nii"}


@pytest.mark.parametrize(("name", "make", "text"), REAL.values(), ids=REAL)
def test_real_file_that_is_no_volume_is_refused(client: TestClient, name: str, make: Make, text: str) -> None:
    code, body = upload(client, name, make())
    assert (code, text in body["detail"]) == (400, True), body


def test_real_mri_volume_in_one_file_is_accepted(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARRIER_UPLOAD_LIMIT", "30000000")
    code, body = upload(TestClient(create_app()), "mprage.dcm", real_multiframe())
    assert code == 201, body
    assert len(uploads(environment)) == 1


def test_reference_has_the_answer_to_every_bad_input() -> None:
    cells = [line.strip("| ").split(" | ") for line in REFERENCE.read_text().splitlines() if line.startswith("| ")]
    told = {row[0]: (row[1], row[2]) for row in cells if len(row) == 3}
    wrong = [
        case
        for case, (_, _, status, text) in BAD.items()
        if case not in told or told[case][0] != str(status) or text not in told[case][1]
    ]
    assert wrong == []
