"""Debian 12's packages through this machine's own mirror, on Debian 12 and 13 alike."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

SUITE = "bookworm"
ARCHITECTURE = "amd64"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class ChannelError(Exception):
    """The channel cannot be built; the message says why and what to do."""


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """The standard output of a command. Raises ChannelError with its standard error when it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, cwd=cwd, check=True, text=True, capture_output=True)
    except FileNotFoundError:
        raise ChannelError(f"{words[0]}: no such program") from None
    except subprocess.CalledProcessError as error:
        raise ChannelError(f"{' '.join(words)}: exit code {error.returncode}\n{error.stderr.strip()}") from None
    return done.stdout


class PrivateApt:
    """apt with sources, lists and cache of its own, which sees Debian 12 and nothing else.

    The machine's own apt state, pins and release play no part, so a Debian 12 and a Debian 13 machine get the same
    packages. Only the mirror's address is taken from the machine. `work` is the folder for lists and cache.
    """

    def __init__(self, work: Path) -> None:
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (work / folder).mkdir(parents=True, exist_ok=True)
        sources = work / "sources.list"
        sources.write_text("".join(f"{line}\n" for line in source_lines()))
        self._options = list(_option_words(work, sources))

    def update(self) -> None:
        """Fetch the package lists. Without a network the lists of the last time stay in use."""
        run("apt-get", *self._options, "update")

    def newest(self, packages: Sequence[str]) -> dict[str, str]:
        """For each package the newest deb as `<file> <checksum>`, without downloading it."""
        lines = run("apt-get", *self._options, "download", "--print-uris", *packages).splitlines()
        debs = [line.split() for line in lines]  # 'uri' file size checksum
        return {file.split("_")[0]: f"{file} {checksum}" for _, file, _, checksum in sorted(debs)}

    def extract(self, packages: Sequence[str], into: Path) -> None:
        """Download the packages and unpack all of them over one another into the folder `into`."""
        debs = into.with_name(f"{into.name}.debs")
        debs.mkdir()
        run("apt-get", *self._options, "download", *packages, cwd=debs)
        for deb in sorted(debs.iterdir()):
            run("dpkg-deb", "-x", deb, into)


def source_lines() -> list[str]:
    """Sources for Debian 12 with its updates and security updates, from the mirrors that this machine uses."""
    own = _codename()
    query = ("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(ORIGIN)", "Created-By: Packages")
    if not run(*query):  # a fresh machine has no lists, and then apt does not know the origins
        run("apt-get", "-qq", "update")
    targets = (line.rsplit(" ", 2) for line in run(*query).splitlines())
    lines = {
        f"deb [signed-by={KEYRING}] {uri} {name.replace(own, SUITE)} main"
        for uri, name, origin in targets
        if origin == "Debian" and re.fullmatch(f"{own}(-updates|-security)?", name)
    }
    if not lines:
        raise ChannelError(f"apt has no sources for Debian {own}: add them to /etc/apt/sources.list and run again")
    return sorted(lines)


def _codename() -> str:
    match = re.search(r"^VERSION_CODENAME=(\w+)$", Path("/etc/os-release").read_text(), re.MULTILINE)
    if match is None:
        raise ChannelError("/etc/os-release names no VERSION_CODENAME: this needs Debian 12 or 13")
    return match[1]


def _option_words(work: Path, sources: Path) -> Iterator[str]:
    options = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State": work / "state",
        "Dir::State::status": "/dev/null",  # as if nothing were installed: every version may be had
        "Dir::Cache": work / "cache",
        "APT::Architecture": ARCHITECTURE,
        "APT::Architectures": ARCHITECTURE,
        "APT::Sandbox::User": "root",  # _apt may not write into our folders
        "Acquire::Languages": "none",
        "Acquire::GzipIndexes": "true",
    }
    yield "-qq"
    for key, value in options.items():
        yield from ("-o", f"{key}={value}")
