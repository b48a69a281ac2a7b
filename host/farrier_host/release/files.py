"""The live files of a stack: what is there, what a release wants there, and the change from one to the other."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farrier_host.release.layout import Layout, owner


class Refused(Exception):
    """The request cannot be carried out; nothing was changed. The text says what to do."""


@dataclass(frozen=True)
class FileSet:
    """What lies, or shall lie, in the live folders: text by file name (units) or by `<hostname>.d/<stack>.caddy`."""

    units: dict[str, str] = field(default_factory=dict)
    sites: dict[str, str] = field(default_factory=dict)
    starts: dict[str, tuple[str, ...]] = field(default_factory=dict)  # unit file -> the units it starts
    changes: dict[str, str] = field(default_factory=dict)  # unit file -> how its running units go over

    def instances(self) -> list[str]:
        """Every unit that this set starts."""
        return [unit for file in sorted(self.starts) for unit in self.starts[file]]

    def change_of(self, unit: str) -> str:
        """How a running unit goes over to another text; a plain restart where nothing else is said."""
        return next((self.changes.get(file, "restart") for file, units in self.starts.items() if unit in units), "")


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace `path` as a whole: a reader, or a crash, finds the old text or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
        _sync(path.parent)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    """A rename is on disk when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_plan(layout: Layout, stack: str, release: str) -> dict[str, Any]:
    """The stack's plan as `release` holds it. Raises Refused when there is no such release."""
    try:
        plan: dict[str, Any] = json.loads((layout.release(stack, release) / "plan.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Refused(
            f"{stack} has no release '{release}'; `farrier-release list {stack}` shows those it has"
        ) from None
    return plan


def of_release(layout: Layout, stack: str, release: str | None) -> FileSet:
    """The files that `release` wants live; none for no release."""
    if release is None:
        return FileSet()
    plan, folder = read_plan(layout, stack, release), layout.release(stack, release)
    units = {f"units/{path.name}": path.read_text(encoding="utf-8") for path in (folder / "units").iterdir()}
    sites = {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.glob("caddy/*/*")}
    return as_set(units | sites, plan)


def as_set(texts: Mapping[str, str], plan: Mapping[str, Any]) -> FileSet:
    """The live files out of a release's files, by path in it, and its plan, which tells what they start and how."""
    units, sites = (
        {path.removeprefix(folder): text for path, text in texts.items() if path.startswith(folder)}
        for folder in ("units/", "caddy/")
    )
    starts = {unit["file"]: tuple(unit["starts"]) for unit in plan["units"]}
    return FileSet(units, sites, starts, {unit["file"]: unit.get("change", "restart") for unit in plan["units"]})


def alone_texts(layout: Layout, stack: str, units: Iterable[str], release: str | None) -> dict[str, str]:
    """The unit file of each instance that had gone back alone to `release`; none where that was deleted."""
    try:
        older = of_release(layout, stack, release).units
    except Refused:
        return {}
    found = {unit: older.get(unit) or older.get(f"{unit.partition('@')[0]}@.service") for unit in units}
    return {unit: text for unit, text in found.items() if text}


def point_current(layout: Layout, stack: str, release: str | None) -> None:
    """`current` is for people; nothing that runs goes through it."""
    link, fresh = layout.home(stack) / "current", layout.home(stack) / ".current"
    if release is None:
        link.unlink(missing_ok=True)
        return
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(f"releases/{release}")
    fresh.replace(link)


def live(layout: Layout, stack: str, of: FileSet) -> FileSet:
    """The files of `stack` that are live now. `of`, the release that put them there, tells what they start, and how."""
    # By the notice in it, not by its name: a slice's name differs from the stack's where that has a hyphen.
    found = [*layout.units.glob("*.*"), *layout.units.glob("*.d/*.conf")]
    units = {str(path.relative_to(layout.units)): text for path in found if (text := _owned(path, stack)) is not None}
    sites = {
        str(path.relative_to(layout.sites)): path.read_text(encoding="utf-8")
        for path in layout.sites.glob(f"*.d/{stack}.caddy")
    }
    return FileSet(units, sites, {file: started for file, started in of.starts.items() if file in units}, of.changes)


def matching_release(layout: Layout, stack: str) -> str | None:
    """The release whose units are the live ones, by content or at least by name; None when nothing is live.

    Of several the one that `current` points to, or the newest.
    """
    found = live(layout, stack, FileSet()).units
    if not found:
        return None
    folders = (layout.home(stack) / "releases").glob("[0-9]*/plan.json")
    releases = sorted((path.parent.name for path in folders), reverse=True)
    sets = {release: of_release(layout, stack, release).units for release in releases}
    same = [release for release, units in sets.items() if units == found]
    alike = [release for release, units in sets.items() if units.keys() == found.keys()]
    link = layout.home(stack) / "current"
    current = [link.readlink().name] if link.is_symlink() else []
    return next(iter([*(each for each in current if each in same), *same, *alike]), None)


def is_of(path: Path, stack: str) -> bool:
    """Whether a live file is the stack's."""
    return _owned(path, stack) is not None


def _owned(path: Path, stack: str) -> str | None:
    if not path.is_file() or path.is_symlink():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    return text if owner(text) == stack else None


def replace_units(layout: Layout, old: FileSet, new: FileSet) -> None:
    """Make the live unit files those of `new`; only what differs is written, so that a file's time says when."""
    _replace(layout.units, old.units, new.units)


def replace_sites(layout: Layout, old: FileSet, new: FileSet) -> None:
    """Make the live Caddy fragments those of `new`."""
    _replace(layout.sites, old.sites, new.sites)


def _replace(folder: Path, old: dict[str, str], new: dict[str, str]) -> None:
    for name, text in new.items():
        if old.get(name) != text:
            write_atomically(folder / name, text)
    for name in old.keys() - new.keys():
        (folder / name).unlink(missing_ok=True)
