"""The files of jobs in a local folder. No name that came from a user ever becomes part of a path."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.core.disk import sync

JOB_ID = re.compile(r"[0-9a-f]{32}")
SUFFIX = re.compile(r"(\.[a-z0-9]{1,8}){1,2}")
RESULT = "result.zip"
KINDS = ("uploads", "results", "work")


def new_job_id() -> str:
    """An id that nobody can guess: 128 random bits."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class Stray:
    """A folder of a job's files, or its log; `attempt` is 0 where it is of none."""

    kind: str
    job_id: str
    attempt: int
    is_old: bool


@dataclass(frozen=True, slots=True)
class Storage:
    """`uploads/<job>/`, `results/<job>/<attempt>/` and `work/<job>/<attempt>/` under one root on one filesystem."""

    root: Path

    def _folder(self, kind: str, job_id: str) -> Path:
        if not JOB_ID.fullmatch(job_id):
            raise ValueError(f"{job_id!r} is no job id")
        return self.root / kind / job_id

    def free(self) -> int:
        """Bytes that may still be written."""
        return shutil.disk_usage(self.root).free

    # ---- uploads ----------------------------------------------------------------------------------------------------

    def begin_upload(self, job_id: str) -> Path:
        """The path that an upload is written to before it is accepted."""
        self._folder("uploads", job_id).mkdir(parents=True)
        return self.begun_upload(job_id)

    def begun_upload(self, job_id: str) -> Path:
        """Where an upload lies that is not accepted yet."""
        return self._folder("uploads", job_id) / "part"

    def begun_uploads(self) -> dict[str, object]:
        """Jobs of which nothing but a begun upload is there, each with what changes while it grows."""
        found: dict[str, object] = {}
        for part in self.root.glob("uploads/*/part"):
            with suppress(FileNotFoundError):  # it was accepted or dropped since we looked
                stat = part.stat()
                found[part.parent.name] = (stat.st_mtime_ns, stat.st_size)
        return found

    def accept_upload(self, job_id: str, suffix: str) -> Path:
        """Turn the written upload into the job's input, on disk for good."""
        if not SUFFIX.fullmatch(suffix):
            raise ValueError(f"{suffix!r} is no file suffix")
        folder = self._folder("uploads", job_id)
        sync(folder / "part")
        final = (folder / "part").rename(folder / f"input{suffix}")
        sync(folder)
        return final

    def input(self, job_id: str) -> Path | None:
        """The job's input, or None where there is none (any more)."""
        found = sorted(self._folder("uploads", job_id).glob("input.*"))
        return found[0] if found else None

    def drop_input(self, job_id: str) -> None:
        """Delete the job's original. Raises OSError where it is still there."""
        _remove(self._folder("uploads", job_id))

    # ---- work and results -------------------------------------------------------------------------------------------

    def begin_work(self, job_id: str, attempt: int) -> Path:
        """An empty work folder for this attempt, with the input in it; what earlier attempts left is deleted.

        A later attempt's is not: this one may have slept through its lease, and the other may have published meanwhile.
        """
        for kind in ("work", "results"):
            for earlier in self._folder(kind, job_id).glob("[0-9]*"):
                if int(earlier.name) <= attempt:
                    shutil.rmtree(earlier, ignore_errors=True)
        source = self.input(job_id)
        if source is None:
            raise FileNotFoundError(f"the input of job {job_id} is gone from {self._folder('uploads', job_id)}")
        folder = self._folder("work", job_id) / str(attempt)
        folder.mkdir(parents=True)
        try:
            os.link(source, folder / source.name)
        except OSError:
            shutil.copyfile(source, folder / source.name)
        return folder

    def log(self, job_id: str) -> Path:
        """Where the output of the job's steps is kept for the administrator, of all attempts."""
        name = self._folder("work", job_id).name
        folder = self.root / "work" / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.log"

    def pack_result(self, job_id: str, attempt: int, produced: Path) -> int:
        """Zip what lies in `produced` as this attempt's result, whole or not at all; gives its size in bytes."""
        folder = self._folder("results", job_id) / str(attempt)
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / "part"
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(produced.rglob("*")):
                # A link could lead out of the folder, to another patient's scan.
                if path.is_file() and not path.is_symlink():
                    archive.write(path, path.relative_to(produced))
        sync(part)
        final = part.rename(folder / RESULT)
        sync(folder)
        return final.stat().st_size

    def result(self, job_id: str, attempt: int) -> Path:
        """Where the result of this attempt lies, if it has one."""
        return self._folder("results", job_id) / str(attempt) / RESULT

    def drop_work(self, job_id: str, attempt: int) -> None:
        """Delete this attempt's work folder, and the job's when no other attempt has one."""
        shutil.rmtree(self._folder("work", job_id) / str(attempt), ignore_errors=True)
        with suppress(OSError):
            self._folder("work", job_id).rmdir()

    def work_folders(self) -> list[tuple[str, int]]:
        """Job and attempt of every work folder that is there."""
        there = (path for path in self.root.glob("work/*/*") if JOB_ID.fullmatch(path.parent.name))
        return [(path.parent.name, int(path.name)) for path in there if path.name.isdigit()]

    def drop_result(self, job_id: str, attempt: int) -> None:
        """Delete the output of an attempt that lost its job."""
        shutil.rmtree(self._folder("results", job_id) / str(attempt), ignore_errors=True)

    def drop(self, job_id: str) -> None:
        """Delete everything of a job. Raises OSError where something is still there."""
        for kind in KINDS:
            _remove(self._folder(kind, job_id))
        self.log(job_id).unlink(missing_ok=True)

    # ---- what nobody asks for any more ------------------------------------------------------------------------------

    def strays(self, age: float) -> Iterator[Stray]:
        """Every folder of files, and every log, that may belong to no job; `is_old`: untouched for `age` seconds."""
        latest = time.time() - age
        for kind in KINDS:
            for folder in (self.root / kind).glob("[0-9a-f]*"):
                if not JOB_ID.fullmatch(folder.name):
                    continue
                attempts = [int(each.name) for each in folder.glob("[0-9]*")] if kind != "uploads" else []
                for attempt in attempts or [0]:
                    yield Stray(kind, folder.name, attempt, _changed(folder) < latest)
        for path in (self.root / "work" / "logs").glob("*.log"):
            if JOB_ID.fullmatch(path.stem):
                yield Stray("logs", path.stem, 0, _changed(path) < latest)

    def drop_stray(self, stray: Stray) -> None:
        """Delete what was found. Raises OSError where it is still there."""
        if stray.kind == "logs":
            self.log(stray.job_id).unlink(missing_ok=True)
            return
        folder = self._folder(stray.kind, stray.job_id)
        _remove(folder / str(stray.attempt) if stray.attempt else folder)
        with suppress(OSError):
            folder.rmdir()


def _remove(folder: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _changed(path: Path) -> float:
    """When a file, or anything in a folder, was changed last; seconds UTC."""
    with suppress(FileNotFoundError):  # it is being deleted
        return max(each.lstat().st_mtime for each in (path, *path.rglob("*")))
    return time.time()
