"""Releases that are staged on a host: which of them holds given files."""

from __future__ import annotations

import glob
import hashlib
import json
import os

from ansible.module_utils.farrier_files import read


def digest_of(hashes: dict[str, str]) -> str:
    """The hash of all names and contents (as SHA-256): equal releases have equal ones."""
    lines = [f"{path}\0{sha256}\n" for path, sha256 in sorted(hashes.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def identity(release: str, digest: str) -> bytes:
    """The content of `release.json`."""
    return (json.dumps({"release": release, "digest": digest}, indent=2, sort_keys=True) + "\n").encode()


def known(home: str, digest: str) -> str | None:
    """The release with this content that is there already: the live one, or the newest."""
    same = []
    for path in sorted(glob.glob(os.path.join(home, "releases", "*", "release.json"))):
        try:
            found = json.loads(read(path) or b"{}")
        except ValueError:  # a damaged one is no release any more
            continue
        if found.get("digest") == digest:
            same.append(found["release"])
    active = active_release(home)
    return active if active in same else same[-1] if same else None


def active_release(home: str) -> str | None:
    """The release that is live."""
    try:
        found: str | None = json.loads(read(os.path.join(home, "state.json")) or b"{}").get("active")
    except ValueError:  # damaged: farrier-release knows how to go on
        return None
    return found


def missing(home: str, files: dict[str, str], fixed: dict[str, str]) -> tuple[str | None, list[str]]:
    """The staged release with `files` (path inside -> SHA-256), and what of it and of `fixed` is not as it should be.

    `fixed` are files at their own paths, which several releases share. No release: nothing has these files.
    """
    digest = digest_of(files)
    release = known(home, digest)
    if release is None:
        return None, []
    folder = os.path.join(home, "releases", release)
    wanted = fixed | {os.path.join(folder, path): sha256 for path, sha256 in files.items()}
    wanted[os.path.join(folder, "release.json")] = hashlib.sha256(identity(release, digest)).hexdigest()
    return release, [path for path, sha256 in sorted(wanted.items()) if sha256_of(path) != sha256]


def sha256_of(path: str) -> str | None:
    """The file's SHA-256; None when there is no such file."""
    content = read(path)
    return None if content is None else hashlib.sha256(content).hexdigest()
