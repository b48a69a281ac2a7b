"""`python -m app.knee.takeover FOLDER`: takes the results of an older installation into this one.

The older site's layout is not written down anywhere. Assumed is `uploads/<job>/<file>`, and `results/<job>.zip` or
one zip somewhere below `results/<job>/`, where <job> is a UUID with or without hyphens. Whatever else lies there is
listed and keeps the whole from beginning. The source is only read.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from app.core.disk import sync
from app.core.ledger.adopt import ATTEMPT, Done, adopt
from app.core.service import Service, open_service
from app.core.storage import JOB_ID

PIECE = 1024 * 1024  # bytes
SHOWN = 50  # lines of a list
UPLOADS, RESULTS = "uploads", "results"


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in an older installation's data folder."""

    results: dict[str, Path]
    originals: dict[str, list[Path]]
    unknown: list[Path]


@dataclass(slots=True)
class Report:
    """What a run did, or would do. `taken`: job -> SHA-256 of its result. Sizes in bytes."""

    taken: dict[str, str] = field(default_factory=dict)
    there: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    without_result: list[str] = field(default_factory=list)
    originals: int = 0
    size: int = 0
    unknown: list[Path] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether nothing stood in the way."""
        return not self.unknown and not self.differing


def job_id_of(name: str) -> str | None:
    """The id of an older job as this site writes it: 32 hexadecimal digits."""
    plain = name.replace("-", "").lower()
    return plain if JOB_ID.fullmatch(plain) else None


def survey(folder: Path) -> Found:
    """Look at everything in `folder`, and follow no link. Raises OSError where there is none."""
    found = Found({}, {}, [])
    for path in sorted(folder.iterdir()):
        if path.name not in (UPLOADS, RESULTS) or not _is_folder(path):
            found.unknown.append(path)
    for path in _entries(folder / RESULTS):
        _note_result(path, found)
    for path in _entries(folder / UPLOADS):
        job_id = job_id_of(path.name)
        inside = sorted(path.rglob("*")) if job_id and _is_folder(path) else []
        if job_id is None or not inside or not all(_is_file(each) for each in inside):
            found.unknown.append(path)
        else:
            found.originals[job_id] = inside
    return found


def _note_result(path: Path, found: Found) -> None:
    job_id = job_id_of(path.name.removesuffix(".zip"))
    files = [path] if _is_file(path) else [each for each in path.rglob("*") if not _is_folder(each)]
    is_known = job_id is not None and job_id not in found.results and len(files) == 1
    if job_id is None or not is_known or not _is_zip(files[0]):
        found.unknown.append(path)
    else:
        found.results[job_id] = files[0]


def _entries(folder: Path) -> Iterator[Path]:
    if _is_folder(folder):
        yield from sorted(folder.iterdir())


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _is_zip(path: Path) -> bool:
    return path.suffix == ".zip" and _is_file(path) and zipfile.is_zipfile(path)


def take_over(folder: Path, service: Service, *, dry_run: bool = False, skip_unknown: bool = False) -> Report:
    """Copy every result that is not here yet and enter its job as done, with the time of the file as its end.

    Nothing is copied where something is unknown, unless `skip_unknown`. Raises OSError. A run that was cut is finished
    by the next: a job is entered only once its file is on disk and has been read back.
    """
    found = survey(folder)
    report = Report(unknown=found.unknown, without_result=sorted(found.originals.keys() - found.results.keys()))
    report.originals = sum(len(files) for files in found.originals.values())
    if found.unknown and not skip_unknown:
        return report
    for job_id, source in sorted(found.results.items()):
        _take(job_id, source, service, report, dry_run=dry_run)
    return report


def _take(job_id: str, source: Path, service: Service, report: Report, *, dry_run: bool) -> None:
    job, target = service.jobs.find(job_id), service.storage.result(job_id, ATTEMPT)
    if job is not None:
        is_same = job.expired_wall is not None or (target.is_file() and _digest(target) == _digest(source))
        (report.there if is_same else report.differing).append(job_id)
        return
    size = source.stat().st_size
    report.size += size
    if dry_run:
        report.taken[job_id] = _digest(source)
        return
    digest = _copy(source, target)
    if _digest(target) != digest:
        target.unlink()
        report.differing.append(job_id)
        return
    ended = Done(job_id, source.stat().st_mtime, size)
    adopt(service.database, service.clock, ended, kept=service.settings.result_hours * 3600.0)
    report.taken[job_id] = digest


def _copy(source: Path, target: Path) -> str:
    """Copy to disk for good; gives the SHA-256 of what was read."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part, digest = target.with_name("part"), hashlib.sha256()
    with source.open("rb") as old, part.open("wb") as new:
        while data := old.read(PIECE):
            digest.update(data)
            new.write(data)
    sync(part)
    part.rename(target)
    sync(target.parent)
    return digest.hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tell(report: Report, *, dry_run: bool, refused: bool) -> Iterator[str]:
    """The report in lines. Files are listed as they are called there, so it is for the administrator's eyes only."""
    if report.unknown:
        yield f"not known here ({len(report.unknown)}):"
        yield from (f"  {path}" for path in report.unknown[:SHOWN])
        yield from [f"  and {len(report.unknown) - SHOWN} more"] if len(report.unknown) > SHOWN else []
    if refused:
        yield "nothing was taken over; move these away, or leave them out with --skip-unknown"
        return
    word = "would be taken over" if dry_run else "taken over, and read back the same"
    yield f"{len(report.taken)} results {word} ({report.size} bytes)"
    yield from (f"  {job_id} sha256 {digest}" for job_id, digest in report.taken.items())
    yield f"{len(report.there)} results are here already"
    differing = ", ".join(report.differing) or "-"
    yield f"{len(report.differing)} differ from what is here under the same number: {differing}"
    yield f"{report.originals} originals stay where they are; {len(report.without_result)} of their jobs have no result"
    yield from (f"  {job_id} has no result: send the scan anew" for job_id in report.without_result[:SHOWN])


def main(arguments: list[str]) -> int:
    """Exit code 0 where all is taken over, 1 where something stood in the way."""
    parser = argparse.ArgumentParser(prog="takeover", description="Take over an older installation's results.")
    parser.add_argument("folder", type=Path, help="the data folder that holds uploads/ and results/")
    parser.add_argument("--dry-run", action="store_true", help="only count and compute checksums")
    parser.add_argument("--skip-unknown", action="store_true", help="begin all the same, without what is not known")
    options = parser.parse_args(arguments)
    try:
        service = open_service(os.environ)
        report = take_over(options.folder, service, dry_run=options.dry_run, skip_unknown=options.skip_unknown)
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    refused = bool(report.unknown) and not options.skip_unknown
    for line in tell(report, dry_run=options.dry_run, refused=refused):
        print(line)
    return 1 if refused or report.differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
