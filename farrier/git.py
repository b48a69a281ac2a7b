"""What git says of the controller's working tree. The only place that calls git."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

# Whoever runs a hook or `git rebase --exec` has these set: they would point git at another repository.
_MISLEADING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")


@dataclass(frozen=True)
class Checkout:
    """A working tree. `commit` is None where it is no git checkout (`complaint` says why), or has no commit yet."""

    commit: str | None
    changed: tuple[str, ...] = ()  # files that differ from the commit, and files that git neither knows nor ignores
    pushed: bool = False  # the commit is on a remote-tracking branch
    complaint: str = ""

    @property
    def short(self) -> str:
        """The commit as people write it."""
        return self.commit[:7] if self.commit else "no commit"


class GitFailed(Exception):
    """Git could not do what it had to; the message is git's own."""


def checkout(root: Path) -> Checkout:
    """How the tree at `root` stands to its repository. Never raises: a tree that is no checkout is told as such."""
    head = _git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if head.returncode != 0:
        return Checkout(commit=None, complaint=_text(head.stderr) or "it has no commit yet")
    commit = _text(head.stdout)
    status = _git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=normal")
    if status.returncode != 0:
        return Checkout(commit=None, complaint=_text(status.stderr) or "git status failed")
    changed = tuple(sorted(entry[3:] for entry in _text(status.stdout).split("\0") if entry))
    return Checkout(commit=commit, changed=changed, pushed=is_pushed(root, commit))


def is_pushed(root: Path, commit: str) -> bool:
    """Whether a remote-tracking branch holds the commit."""
    return bool(_git(root, "for-each-ref", "--count=1", f"--contains={commit}", "refs/remotes").stdout.strip())


def describe(root: Path) -> str:
    """The tree's commit, with `-dirty` where files differ from it; `unversioned` where git knows none."""
    done = _git(root, "describe", "--always", "--dirty", "--exclude=*")
    return _text(done.stdout) if done.returncode == 0 else "unversioned"


def commit_of(root: Path, name: str) -> str | None:
    """The commit that a name means here, in full."""
    done = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    return _text(done.stdout) if done.returncode == 0 else None


def tags(root: Path, *, in_head: bool = False) -> list[str]:
    """The tags that start with `v`; with `in_head` those whose commit HEAD contains."""
    merged = ["--merged=HEAD"] if in_head else []
    return _text(_git(root, "tag", "--list", "v*", *merged).stdout).split()


def export(root: Path, commit: str, folder: Path) -> Path:
    """The files of a commit in `folder`, which is made whole or not at all, and once. Raises GitFailed."""
    if folder.is_dir():
        return folder
    done = _git(root, "archive", "--format=tar", commit)
    if done.returncode != 0:
        raise GitFailed(_text(done.stderr))
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name[:12]}-", dir=folder.parent))
    try:
        subprocess.run(["tar", "--extract", "--file=-", f"--directory={part}"], input=done.stdout, check=True)
        part.chmod(0o755)
        part.rename(folder)
    except subprocess.CalledProcessError as error:
        raise GitFailed(f"tar could not write {part}: exit code {error.returncode}") from None
    except OSError:
        if not folder.is_dir():  # else another deploy was quicker with the same commit
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = {key: value for key, value in os.environ.items() if key not in _MISLEADING}
    # Only looking: without this, `git status` would write the index of a tree that may be somebody else's.
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        return subprocess.run(command, check=False, capture_output=True, env=environment | {"LC_ALL": "C"})
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, b"", b"git is not installed")


def _text(output: bytes) -> str:
    return output.decode(errors="replace").strip("\n")
