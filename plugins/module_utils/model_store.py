"""The model store of a host: files by their hash, and a folder of hardlinks to them for every model's version.

    <root>/.store/sha256/ab/<sha256>    every file once, 0444
    <root>/.store/partial/<sha256>      what has arrived of a file that is being fetched
    <root>/<id>/<version>/...           hardlinks; `.complete` says what the folder holds

Standard library only: it runs in the host's own Python.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ansible.module_utils.model_fetch import FetchError, fetch, sha256
from ansible.module_utils.model_folder import MARKER, File, Model, content, is_complete

MIB = 2**20


class StoreError(Exception):
    """A model cannot be had; the text says which, why and what to do. No version's folder was changed."""


class Store:
    """The store at `root`. `local` are files that the controller has sent, by their hash; `tokens` are by name."""

    def __init__(self, root: Path, local: dict[str, Path] | None = None, tokens: dict[str, str] | None = None) -> None:
        self.root = root
        self.local = local or {}
        self.tokens = tokens or {}
        self.objects = root / ".store" / "sha256"
        self.partial = root / ".store" / "partial"

    def missing(self, models: Sequence[Model]) -> list[Model]:
        """The models whose folder is not there as it was made. Costs a `stat` a file."""
        return [model for model in models if not is_complete(model)]

    def touch(self, models: Sequence[Model]) -> None:
        """Note that a deploy asked for the models: `farrier-release collect` spares them for a while."""
        for model in models:
            if is_complete(model):
                os.utime(model.folder)

    def bring(self, models: Sequence[Model]) -> None:
        """Fetch and place the models. Raises StoreError; what had been placed before it stays."""
        self._refuse_misplaced(models)
        self.partial.mkdir(parents=True, exist_ok=True)
        with self._locked():
            waiting = self.missing(models)
            by_hash = {file.sha256: (model, file) for model in waiting for file in model.files}
            wanted = [(model, file) for model, file in by_hash.values() if not self._is_sound(file)]
            self._refuse_without_room([file for _, file in wanted])
            for model, file in wanted:
                self._fetch(model, file)
            for model in waiting:
                self._place(model)

    def wanted(self, models: Sequence[Model]) -> list[str]:
        """Hashes of the files that `bring` would fetch."""
        return sorted(
            {file.sha256 for model in self.missing(models) for file in model.files if not self._is_sound(file)}
        )

    def path(self, digest: str) -> Path:
        """Where the file with this hash lies."""
        return self.objects / digest[:2] / digest

    def _is_sound(self, file: File) -> bool:
        """Whether the file is there with the right content: its hardlinks may have been written to."""
        path = self.path(file.sha256)
        return path.is_file() and path.stat().st_size == file.size and sha256(path) == file.sha256

    def _fetch(self, model: Model, file: File) -> None:
        partial, reasons = self.partial / file.sha256, []
        for source in file.sources:
            try:
                fetch(self._real(source, file), partial, file.sha256, file.size, self._token(model))
            except FetchError as error:
                reasons.append(f"{source}: {error}")
            except OSError as error:
                partial.unlink(missing_ok=True)
                raise self._unwritable(model, error) from None
            else:
                self._keep(partial, self.path(file.sha256))
                return
        raise StoreError(f"model {model.reference}, file {file.path} cannot be had: {'; '.join(reasons)}")

    def _token(self, model: Model) -> str | None:
        if model.token is None:
            return None
        if model.token not in self.tokens:
            raise StoreError(f"model {model.reference} needs the token '{model.token}'; write it into farrier_tokens")
        return self.tokens[model.token]

    def _real(self, source: str, file: File) -> str | Path:
        if not source.startswith("file:"):
            return source
        if file.sha256 not in self.local:
            raise FetchError("the controller did not send it")
        return self.local[file.sha256]

    def _keep(self, partial: Path, target: Path) -> None:
        partial.chmod(0o444)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(target)
        _sync(target.parent)

    def _place(self, model: Model) -> None:
        try:
            self._make_folder(model)
        except OSError as error:
            raise self._unwritable(model, error) from None

    def _make_folder(self, model: Model) -> None:
        """Make the version's folder beside its place and move it there as a whole."""
        new = model.folder.with_name(f".{model.folder.name}.new")
        old = model.folder.with_name(f".{model.folder.name}.old")
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
        new.mkdir(parents=True)
        for file in model.files:
            link = new / file.path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.hardlink_to(self.path(file.sha256))
        marker = new / MARKER
        marker.write_text(json.dumps(content(model, new), indent=1) + "\n")
        marker.chmod(0o444)
        _sync(marker)
        if model.folder.exists():
            model.folder.rename(old)
        new.rename(model.folder)
        _sync(model.folder.parent)
        shutil.rmtree(old, ignore_errors=True)

    def _refuse_misplaced(self, models: Sequence[Model]) -> None:
        for model in models:
            if model.folder != self.root / model.id / model.version:
                raise StoreError(f"model {model.reference}: its folder is {model.folder}, the store is {self.root}")
            for file in model.files:
                inside = PurePosixPath(file.path)
                if inside.is_absolute() or ".." in inside.parts:
                    raise StoreError(f"model {model.reference}: {file.path} leads out of its folder")

    def _refuse_without_room(self, files: Sequence[File]) -> None:
        sizes = {file.sha256: file.size - _size(self.partial / file.sha256) for file in files}
        needed, free = sum(sizes.values()), shutil.disk_usage(self.root).free
        if needed > free:
            raise StoreError(
                f"the models need {needed // MIB + 1} MiB in {self.root}, {free // MIB} MiB are free: "
                "remove something from this disk, or enlarge it, and deploy again"
            )

    def _unwritable(self, model: Model, error: OSError) -> StoreError:
        if error.errno != errno.ENOSPC:
            return StoreError(f"model {model.reference}: {error}")
        return StoreError(
            f"model {model.reference}: the disk of {self.root} became full while it was fetched; what had arrived is "
            "removed again: remove something from this disk, or enlarge it, and deploy again"
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.root / ".store" / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sync(path: Path) -> None:
    """What is in the folder, or the file, survives a power cut from here on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
