"""One cgroup (version 2) per host or helper process: whatever runs in it can be ended for certain."""

from __future__ import annotations

import os
import time
from pathlib import Path

from testbed.settings import STATE
from testbed.shell import DriverError, run

_FOLDER = "farrier-testbed"
_END_SECONDS = 10.0


def find_mount(mounts: str) -> Path | None:
    """Mount point of cgroup v2 in the text of /proc/self/mounts: /sys/fs/cgroup, or …/unified beside version 1."""
    fields = (line.split() for line in mounts.splitlines())
    return next((Path(field[1]) for field in fields if len(field) > 2 and field[2] == "cgroup2"), None)


def root() -> Path:
    """Folder above all cgroups of the driver; it exists afterwards, with every controller handed down."""
    folder = _mount_point() / _FOLDER
    folder.mkdir(exist_ok=True)
    _hand_down(folder)
    return folder


def create(name: str) -> Path:
    """A fresh, empty cgroup of that name."""
    folder = root() / name
    remove(name)
    folder.mkdir()
    return folder


def processes(folder: Path) -> list[int]:
    """Process ids in the cgroup and everything under it."""
    return [int(pid) for file in folder.rglob("cgroup.procs") for pid in file.read_text().split()]


def is_alive(name: str) -> bool:
    """Whether any process is left in the cgroup of that name."""
    return _populated(root() / name)


def remove(name: str) -> None:
    """End every process in the cgroup of that name and remove it; no error when there is none."""
    folder = root() / name
    if not folder.is_dir():
        return
    (folder / "cgroup.kill").write_text("1")
    await_end(name)
    _remove_folders(folder)


def await_end(name: str) -> None:
    """Wait until no process is left in the cgroup of that name; DriverError when they do not end."""
    folder, deadline = root() / name, time.monotonic() + _END_SECONDS
    while _populated(folder):
        if time.monotonic() > deadline:
            raise DriverError(f"{folder}: processes {processes(folder)} do not end (state D?): look with `ps`")
        time.sleep(0.02)


def names() -> list[str]:
    """Names of the cgroups that there are."""
    return sorted(path.name for path in root().iterdir() if path.is_dir())


def remove_root() -> None:
    """Remove the folder above all cgroups, and what is still in it."""
    for name in names():
        remove(name)
    _remove_folders(root())


def _populated(folder: Path) -> bool:
    events = folder / "cgroup.events"
    return events.is_file() and "populated 1" in events.read_text()


def _remove_folders(folder: Path) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        Path(path).rmdir()


def _mount_point() -> Path:
    found = find_mount(Path("/proc/self/mounts").read_text())
    return found or _mount()


def _mount() -> Path:
    target = STATE / "cgroup2"
    target.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "cgroup2", "none", str(target))
    return target


def _hand_down(folder: Path) -> None:
    wanted = set((folder / "cgroup.controllers").read_text().split())
    missing = wanted - set((folder / "cgroup.subtree_control").read_text().split())
    if missing:
        (folder / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in sorted(missing)))
