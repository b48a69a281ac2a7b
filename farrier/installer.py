"""The installer of environments, as the controller sends it to a host."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple


class Installer(NamedTuple):
    """Its pinned packages, its own files by name, and the hash of both, which names its folder on a host."""

    requirements: str
    sources: dict[str, str]
    content: str


def installer(root: Path) -> Installer:
    """The installer of the repository at `root`."""
    requirements = (root / "roles" / "conda" / "files" / "tools.txt").read_text(encoding="utf-8")
    files = sorted((root / "host" / "farrier_env").glob("*.py"))
    sources = {file.name: file.read_text(encoding="utf-8") for file in files}
    content = hashlib.sha256(json.dumps([requirements, sources]).encode()).hexdigest()
    return Installer(requirements, sources, content)
