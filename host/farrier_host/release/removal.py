"""Removing folders so that a cut at any point leaves nothing half that looks whole, and counting what it frees."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_HIDDEN = ".collected"

Say = Callable[[str], None]


class Removal:
    """What is to go: `hide` takes it out of sight at once, `finish` deletes it. What cannot go stays and is told."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.removed: list[str] = []
        self.left: list[str] = []
        self.freed = 0
        self._waiting: list[tuple[str, Path]] = []

    def hide(self, what: str, path: Path) -> bool:
        """Give `path` a hidden name: from here on nobody takes it for whole. False when it cannot be renamed."""
        hidden = path.with_name(f".{path.name}.{time.time_ns()}{_HIDDEN}")
        try:
            path.rename(hidden)
        except FileNotFoundError:
            return False
        except OSError as error:
            self.leave(f"{what} stays: {error.strerror}: {path}")
            return False
        self._waiting.append((what, hidden))
        return True

    def sweep(self, folder: Path) -> None:
        """Take up what an earlier run hid in `folder` and could not finish."""
        for path in folder.glob(f".*.*{_HIDDEN}"):
            name = path.name.removesuffix(_HIDDEN).rpartition(".")[0].removeprefix(".")
            self._waiting.append((f"the rest of {name}, which an earlier run began to remove", path))

    def finish(self) -> None:
        """Delete what is hidden."""
        for what, path in self._waiting:
            try:
                freed = delete(path)
            except OSError as error:
                self.leave(f"{what} stays: {error.strerror}: {error.filename}")
                continue
            self.freed += freed
            self.removed.append(what)
            self.say(f"removed {what}: {size(freed)}")
        self._waiting = []

    def leave(self, why: str) -> None:
        """Note what stays, and why."""
        self.left.append(why)
        self.say(why)


def delete(path: Path) -> int:
    """Delete a file, or a folder with all that is in it; the bytes that this frees (not those of other hardlinks)."""
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            freed = _frees(path.lstat())
            path.unlink()
            return freed
    except FileNotFoundError:
        return 0
    freed = sum(_emptied(path))
    path.rmdir()
    return freed


def _emptied(top: Path) -> Iterator[int]:
    """Empty `top` from its leaves up; yields the bytes of each file. Links are removed and never followed."""
    for _, folders, files, folder in os.fwalk(top, topdown=False, follow_symlinks=False, onerror=_raise):
        for name in files:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            os.unlink(name, dir_fd=folder)
            yield _frees(found)
        for name in folders:
            if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=folder)
            else:
                os.rmdir(name, dir_fd=folder)


def _frees(found: os.stat_result) -> int:
    return found.st_blocks * 512 if found.st_nlink == 1 else 0


def _raise(error: OSError) -> None:
    raise error


def size(count: int) -> str:
    """Bytes as people read them."""
    for unit, step in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= step:
            return f"{count / step:.1f} {unit}"
    return f"{count} bytes"
