"""Opens a zip from a stranger for looking into it; what could harm whoever unpacks it is refused beforehand."""

from __future__ import annotations

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import IO

DIRECTORY = 4 * 1024 * 1024  # bytes that the list of contents may have: 5,000 names of 800
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others may ask for gigabytes of memory
NESTED = re.compile(r"\.(zip|7z|rar|tar|tgz|gz|bz2|xz|zst)$", re.IGNORECASE)
DRIVE = re.compile(r"[A-Za-z]:")
DAMAGED = "The zip is damaged or was cut off."
ENCRYPTED = 0x1  # of flag_bits


class BadArchive(ValueError):
    """The zip cannot be used; the message says why, to its user."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What a zip may hold: files, bytes unpacked, and how many times its own size once that is `free` bytes."""

    size: int
    free: int
    files: int = 5000
    ratio: int = 100


class _Bounded(FileIO):
    """A file that gives no huge piece at once: zipfile reads the whole list of contents into memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > DIRECTORY:
            raise BadArchive("The zip's list of contents is too long.")
        return super().read(-1 if size is None else size) or b""


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    told = repr(name[:80])
    if entry.flag_bits & ENCRYPTED:
        raise BadArchive("The zip is encrypted; send it without a password.")
    if name.startswith(("/", "\\")) or DRIVE.match(name):
        raise BadArchive(f"The zip names an absolute path: {told}.")
    if ".." in name.replace("\\", "/").split("/"):
        raise BadArchive(f"The zip names a path that leads out of it: {told}.")
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise BadArchive(f"The zip holds a link or something else that is no file: {told}.")
    if NESTED.search(name) and not entry.is_dir():
        raise BadArchive(f"The zip holds another archive: {told}; send what is in it.")
    if entry.compress_type not in METHODS:
        raise BadArchive(f"The zip packs {told} by an unusual method; make it with the usual one (deflate).")


def _check_whole(entries: list[zipfile.ZipInfo], packed: int, limits: ArchiveLimits) -> None:
    if len(entries) > limits.files:
        raise BadArchive(f"The zip holds {len(entries)} files; this site takes up to {limits.files}.")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > limits.size or (unpacked > limits.free and unpacked > limits.ratio * packed):
        raise BadArchive(f"The zip would unpack to {unpacked // 10**6} MB, which is too much for its size.")


def _open(file: IO[bytes]) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except BadArchive:
        raise
    except Exception as error:  # a damaged list of contents makes zipfile raise whatever it stumbles over
        raise BadArchive(DAMAGED) from error


@contextmanager
def open_archive(path: Path, limits: ArchiveLimits) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """The zip and its files, none of which is unsafe to unpack; raises BadArchive, also for damage found on reading."""
    with _Bounded(path) as file, _open(file) as archive:
        entries = archive.infolist()
        _check_whole(entries, path.stat().st_size, limits)
        for entry in entries:
            _check_entry(entry)
        try:
            yield archive, [entry for entry in entries if not entry.is_dir()]
        except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeError, struct.error) as error:
            raise BadArchive(DAMAGED) from error
