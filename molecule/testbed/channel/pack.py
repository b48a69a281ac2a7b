"""Write conda packages (.conda, format 2) and the channel's repodata.json: equal files make equal bytes."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

SUBDIR = "linux-64"
EPOCH = 1704067200  # every file's time and every package's time stamp: a build has no time of its own
ZIP_TIME = (1980, 1, 1, 0, 0, 0)

Json = dict[str, Any]


@dataclass(frozen=True)
class Package:
    """What a package says about itself. `placeholder` is the text in its files that the prefix replaces."""

    name: str
    version: str
    build: str
    depends: list[str]
    about: Json = field(default_factory=dict)
    placeholder: str = ""

    @property
    def stem(self) -> str:
        """The file name without `.conda`."""
        return f"{self.name}-{self.version}-{self.build}"

    @property
    def index(self) -> Json:
        """The content of info/index.json; repodata.json repeats it."""
        return {
            "name": self.name,
            "version": self.version,
            "build": self.build,
            "build_number": 0,
            "depends": self.depends,
            "subdir": SUBDIR,
            "arch": "x86_64",
            "platform": "linux",
            "timestamp": EPOCH * 1000,
        }


def write_package(channel: Path, files: Path, package: Package) -> Json:
    """Pack the folder `files` as a .conda file of the channel; return its entry for repodata.json, by file name."""
    folder = channel / SUBDIR
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{package.stem}.conda"
    parts = {
        "metadata.json": b'{"conda_pkg_format_version": 2}',
        f"pkg-{package.stem}.tar.zst": _compressed(_payload(files)),
        f"info-{package.stem}.tar.zst": _compressed(_info(files, package)),
    }
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name, ZIP_TIME), content)
    data = target.read_bytes()
    digests = {"sha256": hashlib.sha256(data).hexdigest(), "md5": hashlib.md5(data, usedforsecurity=False).hexdigest()}
    return {target.name: {**package.index, **digests, "size": len(data)}}


def write_repodata(channel: Path, packages: Json) -> None:
    """Write repodata.json for `packages`, the merged results of write_package.

    Not by rattler's index_fs, which adds the time of indexing: the solver copies it into the lock, and equal channels
    would make different locks.
    """
    for subdir, entries in ((SUBDIR, packages), ("noarch", {})):
        (channel / subdir).mkdir(parents=True, exist_ok=True)
        document = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": entries, "repodata_version": 1}
        (channel / subdir / "repodata.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


def _members(files: Path) -> list[Path]:
    return sorted(path for path in files.rglob("*") if path.is_symlink() or path.is_file())


def _payload(files: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in _members(files):
            tar.add(path, arcname=path.relative_to(files).as_posix(), recursive=False, filter=_plain)
    return buffer.getvalue()


def _info(files: Path, package: Package) -> bytes:
    paths = [_paths_entry(path, files, package.placeholder) for path in _members(files)]
    documents = {
        "index.json": package.index,
        "about.json": package.about,
        "paths.json": {"paths": paths, "paths_version": 1},
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, document in documents.items():
            content = json.dumps(document, indent=1, sort_keys=True).encode()
            member = _plain(tarfile.TarInfo(f"info/{name}"))
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _paths_entry(path: Path, files: Path, placeholder: str) -> Json:
    content = path.read_bytes()
    entry: Json = {
        "_path": path.relative_to(files).as_posix(),
        "path_type": "softlink" if path.is_symlink() else "hardlink",
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_in_bytes": len(content),
    }
    if placeholder and placeholder.encode() in content and not path.is_symlink():
        entry["prefix_placeholder"] = placeholder
        entry["file_mode"] = "binary" if b"\0" in content else "text"
    return entry


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without owner, time and umask of the machine that builds."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mtime = EPOCH
    member.mode = 0o755 if member.mode & 0o100 else 0o644
    return member


def _compressed(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=10).compress(data)
