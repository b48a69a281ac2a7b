"""Does a prefix still hold what was installed? Standard library only, so that looking needs no rattler."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from farrier_env.request import Depth

MARKER = ".ready"
_THREADS = 4
_SHOWN = 5  # problems that a message lists


@dataclass(frozen=True)
class Expected:
    """A file of a package and what its record says of it; `sha256` in hexadecimal, None when the record has none."""

    path: Path
    sha256: str | None
    size: int | None


def damages(prefix: Path, depth: Depth) -> list[str] | None:
    """What is wrong with the env at `prefix`, one line a file; None when there is no whole env at all.

    `fast` hashes conda's files and looks at the sizes of the Python packages' ones; `full` hashes all.
    """
    try:
        marker = json.loads((prefix / MARKER).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    found = [f"{name} is missing or changed" for name, sha in marker["records"].items() if sha256(prefix / name) != sha]
    return found or file_damages(prefix, depth)


def aside(prefix: Path) -> Path:
    """Where the old env waits while a damaged one is built again."""
    return prefix.with_name(f"{prefix.name}.damaged")


def file_damages(prefix: Path, depth: Depth) -> list[str]:
    """Files that are not as the packages' own records say."""
    hashed = [*conda_files(prefix), *pip_files(prefix)] if depth == "full" else list(conda_files(prefix))
    sized = [] if depth == "full" else list(pip_files(prefix))
    # Hashing releases the interpreter lock; a task for each of thousands of small files would cost more than it gains.
    with ThreadPoolExecutor(_THREADS) as pool:
        shares = pool.map(_hash_problems, (hashed[start::_THREADS] for start in range(_THREADS)))
        found = sorted(problem for share in shares for problem in share)
    return found + [problem for problem in map(_size_problem, sized) if problem]


def record_hashes(prefix: Path) -> dict[str, str]:
    """The hash of every package's own record, by path: a package that vanishes with its record is noticed, too."""
    records = [*sorted(prefix.glob("conda-meta/*.json")), *_pip_records(prefix)]
    return {str(record.relative_to(prefix)): sha256(record) or "" for record in records}


def conda_files(prefix: Path) -> Iterator[Expected]:
    """The files of conda packages. Symlinks are followed: what they lead to must be there."""
    for record in sorted(prefix.glob("conda-meta/*.json")):
        for entry in json.loads(record.read_text())["paths_data"]["paths"]:
            link = entry.get("path_type") == "softlink"
            wanted = None if link else entry.get("sha256_in_prefix") or entry.get("sha256")
            yield Expected(prefix / entry["_path"], wanted, None)


def pip_files(prefix: Path) -> Iterator[Expected]:
    """The files of Python packages that uv installed; compiled ones (.pyc) carry no hash and are left out."""
    for record in _pip_records(prefix):
        with record.open(newline="", encoding="utf-8") as file:
            for name, digest, size in csv.reader(file):
                if not name.endswith(".pyc"):
                    yield Expected(record.parent.parent / name, _hexadecimal(digest), int(size) if size else None)


def summary(problems: list[str]) -> str:
    """The first few problems, and how many more there are."""
    rest = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "; ".join(problems[:_SHOWN]) + rest


def sha256(path: Path) -> str | None:
    """The file's SHA-256 in hexadecimal; None when there is no such file."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 16):
                digest.update(block)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return digest.hexdigest()


def _pip_records(prefix: Path) -> list[Path]:
    return sorted(prefix.glob("lib/python3*/site-packages/*.dist-info/RECORD"))


def _hexadecimal(digest: str) -> str | None:
    kind, _, value = digest.partition("=")
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex() if kind == "sha256" else None


def _hash_problems(files: Iterable[Expected]) -> list[str]:
    return [problem for file in files if (problem := _hash_problem(file))]


def _hash_problem(expected: Expected) -> str | None:
    if expected.sha256 is None:
        return None if expected.path.exists() else f"{expected.path} is missing"
    actual = sha256(expected.path)
    if actual is None:
        return f"{expected.path} is missing"
    return None if actual == expected.sha256 else f"{expected.path} is changed"


def _size_problem(expected: Expected) -> str | None:
    try:
        size = expected.path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return f"{expected.path} is missing"
    return None if expected.size in (None, size) else f"{expected.path} has another size"
