"""Channels: which commit's stack files a host gets. The tools (roles, plugins) are always the present tree's."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from farrier import git
from farrier.problems import InvalidInput, Problem, nearest

UNSTABLE, STABLE = "unstable", "stable"
_VERSION = re.compile(r"v\d+(\.\d+)*")
_KEPT = 8  # exported trees
_COMMIT = re.compile(r"[0-9a-f]{7,40}")


@dataclass(frozen=True)
class Tree:
    """Where stack files, sources and locks are read. `version` is the second part of a new release's id."""

    root: Path
    version: str
    commit: str | None = None  # None: the working tree as it is


def newest(tags: Iterable[str]) -> str | None:
    """The highest version, compared number by number; a tag such as v2.0-rc1 is no version."""
    versions = [tag for tag in tags if _VERSION.fullmatch(tag)]
    return max(versions, key=lambda tag: [int(number) for number in tag[1:].split(".")], default=None)


def tree_of(root: Path, channel: str, where: str) -> Tree:
    """The tree that a channel means, exported below build/trees/ unless it is the working tree itself.

    `where` tells people which host's variable it is. Raises InvalidInput for a version or commit that is not here.
    """
    if channel == UNSTABLE:
        return Tree(root, git.describe(root))
    version = _version(root, channel, where)
    commit = git.commit_of(root, f"refs/tags/{version}" if version.startswith("v") else version)
    if commit is None:
        raise InvalidInput(
            [_wrong(where, f"there is no commit '{version}' in this repository: `git fetch` may bring it")]
        )
    try:
        folder = git.export(root, commit, root / "build" / "trees" / commit)
        _tidy(folder)
    except (git.GitFailed, OSError) as error:
        raise InvalidInput([_wrong(where, f"commit {commit[:7]} could not be exported: {error}")]) from None
    return Tree(folder, version if version.startswith("v") else commit[:7], commit)


def _tidy(used: Path) -> None:
    """Note when a tree was last used, and remove all but the newest: hosts on old commits need a few at a time."""
    os.utime(used)
    trees = sorted(used.parent.glob("[!.]*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in trees[_KEPT:]:
        # Under another name first: a tree that is half removed must not be taken for a whole one.
        gone = old.with_name(f".{old.name}")
        shutil.rmtree(gone, ignore_errors=True)  # a run that was cut here
        old.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _version(root: Path, channel: str, where: str) -> str:
    """The tag or commit that the channel names."""
    if channel == STABLE:
        found = newest(git.tags(root, in_head=True))
        if found is None:
            raise InvalidInput(
                [_wrong(where, "'stable' is the newest version tag (v1.2.0) in HEAD, and there is none")]
            )
        return found
    if _VERSION.fullmatch(channel):
        versions = [tag for tag in git.tags(root) if _VERSION.fullmatch(tag)]
        if channel not in versions:
            hint = nearest(channel, versions) if versions else "there is no version tag at all"
            raise InvalidInput([_wrong(where, f"there is no version '{channel}': {hint}")])
        return channel
    if _COMMIT.fullmatch(channel):
        return channel
    known = "unstable, stable, a version (v1.2.0) or a commit (7 to 40 hexadecimal digits)"
    raise InvalidInput([_wrong(where, f"'{channel}' is no channel: write {known}")])


def _wrong(where: str, message: str) -> Problem:
    return Problem(where, 0, "farrier_channel", message)
