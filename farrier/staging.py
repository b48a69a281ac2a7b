"""The files of a stack's release: what it brings itself, and what lies at paths of its own, named by content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from farrier.load import Loaded, SourceFiles, load_stacks, runtime_files
from farrier.plan.model import Plan, StackPlan
from farrier.render import release_files


@dataclass(frozen=True)
class Staged:
    """One stack's files with their content: `files` by path in the release, `fixed` by path on the host."""

    name: str
    home: str
    files: dict[str, bytes]
    fixed: dict[str, bytes]


def staged_files(root: Path, tree: Path, plan: Plan, locks: str | None) -> list[Staged]:
    """What a deploy of `plan` stages: templates from the repository at `root`, stack files and sources from `tree`.

    Raises InvalidInput for a wrong stack file.
    """
    loaded = load_stacks(tree, [stack.name for stack in plan.stacks], root / locks if locks else None)
    return [_of(root, *pair) for pair in zip(plan.stacks, loaded, strict=True)]


def hashes(files: dict[str, bytes]) -> dict[str, str]:
    """SHA-256 by path."""
    return {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}


def _of(root: Path, plan: StackPlan, loaded: Loaded) -> Staged:
    texts = {path: text.encode() for path, text in release_files(plan, root / "systemd").items()}
    fixtures = {f"fixtures/{name}": path.read_bytes() for name, path in loaded.fixtures.files.items()}
    fixed = {path: text.encode() for path, text in plan.config.items()}
    sources: dict[str, SourceFiles] = loaded.sources | {"runtime": runtime_files(root)}
    for tree in plan.code:
        fixed |= {f"{tree.path}/{inside}": path.read_bytes() for inside, path in sources[tree.name].files.items()}
    return Staged(plan.name, plan.home, texts | fixtures, fixed)
