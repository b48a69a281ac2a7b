"""A model's version as a folder on a host, and whether it is whole. Costs a `stat` a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARKER = ".complete"


@dataclass(frozen=True)
class File:
    """One file of a model; `size` in bytes, `sources` are tried in order."""

    path: str
    sha256: str
    size: int
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """A model's version and its folder in the store."""

    id: str
    version: str
    folder: Path
    files: tuple[File, ...]
    token: str | None = None  # the name of the token without which its server gives it to nobody

    @property
    def reference(self) -> str:
        """As stack files name it: `nnunet@1`."""
        return f"{self.id}@{self.version}"


def parse(model: dict[str, Any]) -> Model:
    """A model of the plan."""
    files = (File(file["path"], file["sha256"], file["size"], tuple(file["sources"])) for file in model["files"])
    return Model(model["id"], model["version"], Path(model["path"]), tuple(files), model.get("token"))


def is_complete(model: Model) -> bool:
    """Whether the folder holds these files, with the sizes and times that they had when it was made."""
    try:
        return bool(json.loads((model.folder / MARKER).read_text()) == content(model, model.folder))
    except (OSError, ValueError):
        return False


def content(model: Model, folder: Path) -> dict[str, list[str | int]]:
    """What the marker of a folder with these files says."""
    found: dict[str, list[str | int]] = {}
    for file in model.files:
        stat = (folder / file.path).stat()
        found[file.path] = [file.sha256, stat.st_size, stat.st_mtime_ns]
    return found
