from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from app.core.storage import Storage, new_job_id
from app.core.untouched import Untouched
from tests.unit.app.conftest import FakeTime


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "state")


@pytest.fixture
def job(storage: Storage) -> str:
    job_id = new_job_id()
    storage.begin_upload(job_id).write_bytes(b"scan")
    storage.accept_upload(job_id, ".nii.gz")
    return job_id


@pytest.mark.parametrize("evil", ["../x", "/etc", "a" * 31, "A" * 32, "0" * 31 + "/", "", "." * 32, "0" * 32 + "\n"])
def test_what_is_no_job_id_never_becomes_a_path(storage: Storage, evil: str) -> None:
    for use in (storage.begin_upload, storage.input, storage.drop, storage.log, lambda text: storage.result(text, 1)):
        with pytest.raises(ValueError, match="no job id"):
            use(evil)


@pytest.mark.parametrize("evil", ["/../../x", ".nii/../x", "", "nii", ".a.b.c", ".NII"])
def test_what_is_no_suffix_never_becomes_a_path(storage: Storage, evil: str) -> None:
    job = new_job_id()
    storage.begin_upload(job).write_bytes(b"scan")
    with pytest.raises(ValueError, match="no file suffix"):
        storage.accept_upload(job, evil)


def test_attempt_finds_the_input_in_an_empty_work_folder(storage: Storage, job: str) -> None:
    first = storage.begin_work(job, 1)
    (first / "half-done").touch()
    second = storage.begin_work(job, 2)
    assert [path.name for path in second.iterdir()] == ["input.nii.gz"]
    assert not first.exists()


def test_job_without_input_says_so(storage: Storage) -> None:
    with pytest.raises(FileNotFoundError, match="input of job"):
        storage.begin_work(new_job_id(), 1)


def test_result_holds_files_only_and_follows_no_link(storage: Storage, job: str) -> None:
    work = storage.begin_work(job, 1)
    produced = work / "results"
    (produced / "sub").mkdir(parents=True)
    (produced / "sub/a.json").write_text("{}")
    (produced / "secret").symlink_to("/etc/passwd")
    size = storage.pack_result(job, 1, produced)
    assert storage.result(job, 1).stat().st_size == size
    with zipfile.ZipFile(storage.result(job, 1)) as archive:
        assert archive.namelist() == ["sub/a.json"]


def test_dropped_job_leaves_nothing(storage: Storage, job: str) -> None:
    produced = storage.begin_work(job, 1) / "results"
    produced.mkdir()
    storage.pack_result(job, 1, produced)
    storage.log(job).write_text("log")
    storage.drop(job)
    assert [path for path in storage.root.rglob("*") if path.is_file()] == []


def test_an_attempt_that_wakes_late_leaves_the_published_result_of_the_next(
    storage: Storage, job: str, tmp_path: Path
) -> None:
    (tmp_path / "produced").mkdir()
    storage.pack_result(job, 2, tmp_path / "produced")
    storage.begin_work(job, 1)
    assert storage.result(job, 2).is_file()


def test_an_upload_that_nobody_goes_on_with_is_found_whatever_the_wall_clock_says(
    storage: Storage, time: FakeTime
) -> None:
    dead, alive = new_job_id(), new_job_id()
    for job_id in (dead, alive):
        storage.begin_upload(job_id).write_bytes(b"half a sc")
    os.utime(storage.begun_upload(dead), (0, 0))  # as an hour's step of the clock would make it look
    storage.accept_upload(accepted := _begun(storage), ".nii")
    untouched = Untouched(time)
    assert untouched.longer_than(3600, storage.begun_uploads()) == []
    time.seconds += 3601
    storage.begun_upload(alive).write_bytes(b"half a scan")
    assert untouched.longer_than(3600, storage.begun_uploads()) == [dead]
    assert storage.input(accepted)


def _begun(storage: Storage) -> str:
    job_id = new_job_id()
    storage.begin_upload(job_id).write_bytes(b"a scan")
    return job_id


def test_the_last_attempt_takes_the_jobs_work_folder_with_it(storage: Storage, job: str) -> None:
    work = storage.begin_work(job, 1)
    storage.drop_work(job, 1)
    assert not work.parent.exists()
