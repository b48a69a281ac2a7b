"""Locking an export's `pip:` part: hashed requirements by uv, as `make lock` makes them from an .in file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import rattler

from farrier.conda.export import Entry
from farrier.problems import Problem

# A lock holds hashes and no address: this machine's own settings must not decide what is in it.
_SETTINGS = re.compile(r"(PIP_(FIND_LINKS|INDEX_URL|EXTRA_INDEX_URL)|UV_(INDEX_URL|DEFAULT_INDEX|INDEX|FIND_LINKS))")
_PLAIN = re.compile(r"\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?")
_UNIVERSAL = ("--universal", "--generate-hashes", "--no-emit-index-url", "--no-header")


class PipError(Exception):
    """uv cannot make the lock; the text is its own words."""


@dataclass(frozen=True)
class Resolver:
    """Resolves for one `python` (as 3.11), from package indexes, the first first; from the public one without any."""

    python: str
    indexes: tuple[str, ...] = ()

    def problems(self, entries: Sequence[Entry]) -> Iterator[Problem]:
        """Those entries that cannot be had for themselves: not there, not in this version, no wheel for the hosts."""
        left = list(entries)
        while left:
            try:
                # Wheels alone, for Linux: a host builds nothing.
                self._compile([entry.text for entry in left], [], "--no-deps", "--python-platform", "linux")
            except PipError as error:
                entry = _culprit(left, str(error))
                if entry is None:
                    raise
                left.remove(entry)
                yield entry.problem(_reason(entry, str(error), self.python))
            else:
                return

    def lock(self, name: str, requirements: Sequence[str], constraints: Sequence[str] = ()) -> str:
        """The hashed requirements; `name` is the .in file that they are of. Raises PipError."""
        return self._compile(requirements, constraints, *_UNIVERSAL, name=name)

    def _compile(
        self, requirements: Sequence[str], constraints: Sequence[str], *options: str, name: str = "pip"
    ) -> str:
        indexes = [word for url in self.indexes[:-1] for word in ("--index", url)]
        indexes += ["--default-index", self.indexes[-1]] if self.indexes else []
        with tempfile.TemporaryDirectory(prefix="farrier-pip-") as folder:
            # uv writes these names into the lock.
            Path(folder, f"{name}.in").write_text("".join(f"{line}\n" for line in requirements))
            Path(folder, "conda").write_text("".join(f"{line}\n" for line in constraints))
            command = [
                str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet", "--no-build",
                "--python-version", self.python, *options, *indexes, f"{name}.in", "--constraints", "conda",
            ]  # fmt: skip
            environment = {key: value for key, value in os.environ.items() if not _SETTINGS.fullmatch(key)}
            environment |= {"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"}
            done = subprocess.run(command, check=False, text=True, capture_output=True, cwd=folder, env=environment)
        if done.returncode:
            raise PipError(re.sub(r"\s+", " ", done.stderr.strip().removeprefix("error: ")))
        return done.stdout


def constraints(records: Sequence[rattler.RepoDataRecord], entries: Sequence[Entry]) -> dict[str, str]:
    """The Python packages that conda brings, pinned, by name: pip must not bring them again in another version.

    One that the `pip:` part names itself is not among them: there, pip had replaced conda's.
    """
    named = {entry.name for entry in entries}
    pinned = {}
    for record in records:
        name = re.sub(r"[-_.]+", "-", record.name.normalized)
        is_python = any(need.split()[0] == "python" for need in record.depends)
        if is_python and name not in named and _PLAIN.fullmatch(str(record.version)):
            pinned[name] = f"{name}=={record.version}"
    return pinned


def locked_names(lock: str) -> set[str]:
    """The packages in a lock's text."""
    return {found[1].lower() for found in re.finditer(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE)}


def _culprit(entries: Sequence[Entry], words: str) -> Entry | None:
    """The entry that uv's words are about: the one that they name first."""
    lowered = re.sub(r"[-_.]+", "-", words).lower()
    places = {
        entry: re.search(rf"(?<![\w-]){re.escape(entry.name)}(?![\w])", lowered) for entry in entries if entry.name
    }
    named = {entry: place.start() for entry, place in places.items() if place}
    return min(named, key=lambda entry: named[entry]) if named else None


def _reason(entry: Entry, words: str, python: str) -> str:
    version = entry.text.partition("==")[2].partition(";")[0].strip()
    if "not found in the" in words:
        return (
            "no package index has it: publish a wheel of it and name that index with --index URL, or bring its code "
            "as a source of the stack (`sources:`)"
        )
    if "+" in version:
        plain = f"{entry.text.partition('==')[0]}=={version.partition('+')[0]}"
        return f"a build of an index of its own: name that with --index URL, or write {plain}"
    if "there is no version of" in words:
        return "no package index has this version: write one that `pip index versions` shows, or name another --index"
    if "wheels" in words:
        return (
            f"no wheel for Linux and Python {python}, and hosts build nothing: write a version that has one, or name "
            "an index with a wheel of your own by --index URL"
        )
    return f"cannot be locked: {words}"
