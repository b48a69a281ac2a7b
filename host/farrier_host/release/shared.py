"""What releases share on a host, and which of it could go: code, configuration, envs, models, package caches."""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from farrier_host.release.layout import Layout
from farrier_host.release.needed import HOUR, Needed, is_old
from farrier_host.release.removal import Removal

ROOT = "/opt/farrier"
_ENV = re.compile(r"[a-z][a-z0-9_-]*-[0-9a-f]{12}")
_HASHED = re.compile(r".+-[0-9a-f]{12}(\.[a-z]+)?")
_DAMAGED = ".damaged"  # the env that the installer set aside while it builds it again
_PLACING = re.compile(r"\.(.+)\.(new|old)")  # a model's folder that is being put in its place
_OBJECT = re.compile(r"[0-9a-f]{64}")

Spared = Callable[[Path, str], bool]
"""Whether a path stays although no release needs it; the second form of it is the path as on the host."""


def hide_code(layout: Layout, stack: str, needed: Needed, is_spared: Spared, removal: Removal) -> None:
    """Code folders and configuration files that no release names."""
    for kind in ("code", "config"):
        for path in _children(layout.home(stack) / kind):
            on_host = f"{ROOT}/{stack}/{kind}/{path.name}"
            if _HASHED.fullmatch(path.name) and on_host not in needed.paths and not is_spared(path, on_host):
                removal.hide(f"{kind} {path.name} of {stack}", path)


def hide_envs(layout: Layout, needed: Needed, is_spared: Spared, removal: Removal) -> None:
    """Envs that no release needs, and what cut installations left."""
    folder = _envs(layout)
    if not folder.is_dir():
        return
    removal.sweep(folder)
    with held(folder / ".lock") as is_free:
        if not is_free:
            removal.leave("an installer is at work: the envs are left for the next time")
            return
        for path in _children(folder):
            identity = path.name.removesuffix(_DAMAGED)
            if not _ENV.fullmatch(identity) or path.is_symlink() or not path.is_dir() or _is_foreign(path, identity):
                continue
            is_needed = identity in needed.envs and not _is_superseded(path)
            if not is_needed and not is_spared(path, f"{ROOT}/envs/{path.name}"):
                removal.hide(f"env {path.name}", path)


def _is_superseded(path: Path) -> bool:
    """Whether it is the damaged form of an env that was built again and is whole."""
    whole = path.with_name(path.name.removesuffix(_DAMAGED))
    return whole != path and (whole / ".ready").exists()


def _is_foreign(prefix: Path, identity: str) -> bool:
    """Whether somebody else's marker stands in the folder. None at all: an installation that was cut."""
    try:
        return bool(json.loads((prefix / ".ready").read_text())["id"] != identity)
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):
        return True


def hide_models(layout: Layout, store: str, needed: Needed, is_spared: Spared, removal: Removal) -> None:
    """Models in `store` that no release needs, and what cut runs left. A folder without `.complete` is an admin's."""
    root = _on_disk(layout, store)
    if not (root / ".store").is_dir():
        return  # no model was ever brought here
    with held(root / ".store" / ".lock") as is_free:
        if not is_free:
            removal.leave(f"models are being fetched into {store}: they are left for the next time")
            return
        for folder in _children(root):
            removal.sweep(folder)
            for path in _children(folder):
                placing = _PLACING.fullmatch(path.name)
                if placing and (folder / placing[1] / ".complete").exists() and is_old(path, HOUR):
                    removal.hide(f"the rest of model {folder.name}@{placing[1]}", path)
                reference = f"{folder.name}@{path.name}"
                if placing or not (path / ".complete").is_file() or reference in needed.models:
                    continue
                if not is_spared(path, f"{store}/{folder.name}/{path.name}"):
                    removal.hide(f"model {reference}", path)


def clean_store(layout: Layout, store: str, removal: Removal, unused_for: float) -> None:
    """Files of the model store that no model's folder links to any more, and downloads that nobody went on with."""
    inner = _on_disk(layout, store) / ".store"
    if not inner.is_dir():
        return
    with held(inner / ".lock") as is_free:
        if not is_free:
            return
        for path in [*inner.glob("sha256/[0-9a-f][0-9a-f]/*"), *inner.glob("partial/*")]:
            if _OBJECT.fullmatch(path.name) and path.lstat().st_nlink == 1 and is_old(path, unused_for):
                removal.hide(f"file {path.name[:12]}… of the model store", path)
        for folder in [inner / "partial", *inner.glob("sha256/[0-9a-f][0-9a-f]")]:
            removal.sweep(folder)
        removal.finish()
    for folder in _children(_on_disk(layout, store)):
        if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()) and is_old(folder, HOUR):
            folder.rmdir()


def clean_caches(layout: Layout, removal: Removal, unused_for: float) -> None:
    """Packages in the installer's caches that no env holds any more."""
    envs, cache = _envs(layout), layout.root / "opt/farrier/cache"
    if not envs.is_dir():
        return
    with held(envs / ".lock") as is_free:
        if not is_free:
            return
        held_packages = {record.stem for record in envs.glob("*/conda-meta/*.json")}
        for path in [*_children(cache / "conda"), *_children(cache / "uv" / "archive-v0")]:
            is_conda = path.parent.name == "conda"
            if path.suffix == ".lock" or not path.is_dir() or not is_old(path, unused_for):
                continue
            # conda's packages are found by name: a small one may have no file that could be linked.
            if path.name not in held_packages if is_conda else not _is_linked(path):
                removal.hide(f"cached package {path.name}", path)
                path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
        for folder in (cache / "conda", cache / "uv" / "archive-v0"):
            removal.sweep(folder)
        for path in cache.glob("*/.tmp*"):
            if is_old(path, HOUR):
                removal.hide("a temporary folder of the package cache", path)
        removal.finish()


def _is_linked(folder: Path) -> bool:
    """Whether any file in it is an env's, too."""
    return any(path.lstat().st_nlink > 1 for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _envs(layout: Layout) -> Path:
    return layout.root / "opt/farrier/envs"


def _on_disk(layout: Layout, path: str) -> Path:
    return layout.root / path.lstrip("/")


def _children(folder: Path) -> list[Path]:
    """What lies in it, but nothing that is hidden by us already."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.endswith(".collected"))
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextmanager
def held(lock: Path) -> Iterator[bool]:
    """Hold the lock of those who make such things; False when one of them is at work."""
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
