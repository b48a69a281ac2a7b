# mypy: untyped-calls-exclude=SimpleITK
"""What the step `convert` says of files that it cannot use, and what it never does with them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from steps.contract import StepFailed
from steps.scan import read_scan
from steps.unpack import unpack

from tests.unit.app.phantoms import SERIES, dicom_zip, write_slices, zipped
from tests.unit.app.running_site import PHANTOM

FULL = bytes(12**3 * 2)
CUT = "it may be damaged or cut off"


def nrrd(*fields: str, data: bytes = b"") -> bytes:
    lines = ["NRRD0004", "type: short", "dimension: 3", "sizes: 12 12 12", "endian: little", *fields]
    return "\n".join([*lines, "", ""]).encode() + data


def refused(path: Path) -> tuple[str, str]:
    with pytest.raises(StepFailed) as raised:
        read_scan(path, path.parent)
    return raised.value.code, str(raised.value)


def test_small_nrrd_of_the_cases_below_is_good_when_it_is_whole(tmp_path: Path) -> None:
    for number, content in enumerate(
        (nrrd("encoding: raw", data=FULL), nrrd("encoding: gz", data=gzip.compress(FULL)))
    ):
        path = tmp_path / f"{number}.nrrd"
        path.write_bytes(content)
        assert read_scan(path, tmp_path).GetSize() == (12, 12, 12)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.nii.gz", PHANTOM.read_bytes()[:100_000], f"NIfTI; {CUT}"),
        ("a.nii.gz", gzip.compress(gzip.decompress(PHANTOM.read_bytes())[:-2]), f"NIfTI; {CUT}"),
        ("a.nii.gz", b"rubbish", "cannot be read as NIfTI"),
        ("a.nii", nrrd("encoding: raw", data=FULL), "cannot be read as NIfTI"),
        ("a.nrrd", b"rubbish", "cannot be read as NRRD"),
        ("a.nrrd", nrrd("encoding: raw", data=FULL[:-2]), f"NRRD; {CUT}"),
        ("a.nrrd", nrrd("encoding: gzip", data=gzip.compress(FULL[:-2])), f"NRRD; {CUT}"),
        ("a.nrrd", nrrd("encoding: gzip", data=gzip.compress(FULL)[:-9]), f"NRRD; {CUT}"),
        ("a.nrrd", nrrd("encoding: hex", data=b"00" * 12**3), "encoding hex are not read"),
        ("a.nrrd", nrrd("encoding: raw", "data file: /etc/passwd"), "has its data in another file"),
        ("a.nrrd", nrrd("encoding: raw").replace(b"12 12 12", b"9999 9999 9999"), "more than 400000000 voxels"),
        ("a.zip", b"rubbish", "zip archive is damaged"),
        ("a.png", b"rubbish", "A scan is .nii, .nii.gz, .nrrd, .dcm or a .zip of DICOM, not '.png'"),
    ],
)
def test_bad_file_is_told_with_its_reason(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    (tmp_path / name).write_bytes(content)
    code, told = refused(tmp_path / name)
    assert (code, text in told) == ("INVALID_FORMAT", True), told


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The first slices of the phantom, in the order of their places."""
    return write_slices(tmp_path_factory.mktemp("slices"), keep=lambda number: number < 12)


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("two series", "There are 2 DICOM series in what was sent"),
        ("few", "The series has 9 slices; it needs 10"),
        ("a gap", "some may be missing"),
        ("one place twice", "Several DICOM images lie at one place"),
        ("none", "There is no DICOM image"),
    ],
)
def test_bad_series_is_told_with_its_reason(tmp_path: Path, slices: list[Path], case: str, text: str) -> None:
    def other(series: str = SERIES) -> list[Path]:
        """One more image at the place of the fourth."""
        tags = {"0008|0018": f"{SERIES}.77"}
        return write_slices(tmp_path / "other", series=series, tags=tags, keep=lambda number: number == 3)

    cases: dict[str, Callable[[], list[Path]]] = {
        "two series": lambda: [*slices, *other(f"{SERIES}.5")],
        "few": lambda: slices[:9],
        "a gap": lambda: [*slices[:5], *slices[6:]],
        "one place twice": lambda: [*slices, *other()],
        "none": list,
    }
    code, told = refused(dicom_zip(tmp_path / "a.zip", cases[case]()))
    assert (code, text in told) == ("DICOM_ERROR", True), told


def test_one_slice_is_no_volume(tmp_path: Path, slices: list[Path]) -> None:
    (tmp_path / "a.dcm").write_bytes(slices[0].read_bytes())
    assert refused(tmp_path / "a.dcm") == ("DICOM_ERROR", "The series has 1 slices; it needs 10 at least.")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/b.dcm").write_bytes(b"rubbish")
    assert refused(tmp_path / "b/b.dcm") == ("DICOM_ERROR", "The file is named .dcm and is not DICOM.")


def test_archive_writes_numbers_only(tmp_path: Path, slices: list[Path]) -> None:
    names = ("../../escape.dcm", "/etc/escape.dcm", "a/../../b.dcm", "C:\\x.dcm", "a" * 300 + ".dcm")
    archive = zipped(tmp_path / "in.zip", dict(zip(names, slices, strict=False)))
    out = tmp_path / "deep/out"
    out.mkdir(parents=True)
    assert unpack(archive, out) == 5
    assert sorted(path.name for path in tmp_path.rglob("*.dcm")) == [f"{n:05}.dcm" for n in range(1, 6)]


def test_archive_cannot_be_too_much(tmp_path: Path, slices: list[Path]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    bomb = zipped(tmp_path / "bomb.zip", {"a.dcm": slices[0].read_bytes() + bytes(50_000_000)})
    with pytest.raises(StepFailed, match="too large when it is unpacked"):
        unpack(bomb, out, most_bytes=10_000_000)
    assert sum(path.stat().st_size for path in out.iterdir()) < 15_000_000
    many = zipped(tmp_path / "many.zip", {f"{number}.txt": b"" for number in range(10_001)})
    with pytest.raises(StepFailed, match="more than 10000 files"):
        unpack(many, out)
    (tmp_path / "cut.zip").write_bytes(bomb.read_bytes()[:-200])
    with pytest.raises(StepFailed, match="damaged, cut off or encrypted"):
        unpack(tmp_path / "cut.zip", out)
