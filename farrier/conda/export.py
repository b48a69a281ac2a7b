"""Reading the output of `conda env export`: its entries with their lines, and those that no lock can hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import rattler
from pydantic import BaseModel, ConfigDict, Field
from rattler.exceptions import InvalidMatchSpecError

from farrier.document import Document, read
from farrier.problems import Problem

_VERSION_CONTROL = re.compile(r"(^|[@\s])\s*(git|hg|svn|bzr)\+")
_OPTIONS = {
    "-e": "an editable install is a folder of that machine: bring it as a source of the stack (`sources:`), or publish "
    "a wheel of it in your package index and write name==version",
    "-r": "another file: write its lines here",
    "-c": "another file: write the versions that it asks for here",
}
_OPTION = "an option of pip: remove it; `farrier lock --index URL` names the package indexes"
_FOLDER = (
    "a path of that machine, which no host has: publish a wheel of it in your package index and write name==version, "
    "or bring its code as a source of the stack (`sources:`)"
)
_REPOSITORY = (
    "hosts build nothing and fetch from no repository: publish a wheel of this commit in your package index and write "
    "name==version, or bring the code as a source of the stack (`sources:`)"
)
_ADDRESS = "an address outside a package index: write name==version, and name an index that has it with --index URL"


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str | None = None  # of the env, and of its folder, on the machine that it was exported from
    prefix: str | None = None
    channels: list[str] = Field(default_factory=list)
    dependencies: list[str | dict[str, list[str]]] = Field(min_length=1)
    variables: dict[str, str | int | float] = Field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One line of the export."""

    file: str
    line: int
    text: str

    def problem(self, why: str) -> Problem:
        """That it cannot be locked; `why` says what to write instead."""
        return Problem(self.file, self.line, self.text, why)

    def note(self, what: str) -> str:
        """That it was locked in another way than it stands there."""
        return f"{self.file}:{self.line}: {self.text}: {what}"

    @property
    def name(self) -> str:
        """The package's name, of Python packages in the form that all spellings share."""
        found = re.match(r"[A-Za-z0-9._-]+", self.text)
        return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


@dataclass(frozen=True)
class Export:
    """An exported env: `conda` and `pip` are the entries that a lock may hold, `problems` are with the others."""

    file: str
    channels: tuple[str, ...]
    conda: tuple[Entry, ...]
    pip: tuple[Entry, ...]
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]


def read_export(path: Path, channel: str | None = None) -> Export:
    """The export at `path`; with a `channel` to use instead it need not name any. Raises InvalidInput."""
    document = read(path, str(path))
    content = document.validate(_Content)
    reader = _Reader(document, content)
    channels = reader.channels(channel)
    conda, pip = list(reader.conda()), list(reader.pip())
    return Export(document.name, tuple(channels), tuple(conda), tuple(pip), tuple(reader.notes), tuple(reader.problems))


def unlockable(requirement: str) -> str | None:
    """Why a line of the `pip:` part can stand in no lock, and what to write instead; None when it can."""
    if _VERSION_CONTROL.search(requirement):
        return _REPOSITORY
    if requirement.startswith("-"):
        word = requirement.replace("--editable", "-e").replace("--requirement", "-r").replace("--constraint", "-c")
        return _OPTIONS.get(word[:2] if not word.startswith("--") else "", _OPTION)
    if re.search(r"(^|@\s*)(file:|[./~])", requirement) or re.search(r"^[^@;]*/", requirement.partition("://")[0]):
        return _FOLDER
    if "://" in requirement:
        return _ADDRESS
    return _FOLDER if requirement.endswith((".whl", ".tar.gz", ".zip")) else None


class _Reader:
    """Goes through the parts of one export, noting what is wrong and what is left out."""

    def __init__(self, document: Document, content: _Content) -> None:
        self.document, self.content = document, content
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        for name in content.variables:
            entry = self._entry(("variables", name), name)
            self.notes.append(entry.note("left out: write it under the service's `environment:` in the stack file"))

    def channels(self, instead: str | None) -> list[str]:
        """The channels that anybody but conda itself can find, those included that single entries name."""
        named = [name for name in self.content.channels if name not in {"defaults", "nodefaults"}]
        single = [text.rpartition("::")[0] for text in self.content.dependencies if isinstance(text, str)]
        named += [name for name in dict.fromkeys(single) if name and name not in {*named, "defaults"}]
        if "defaults" in self.content.channels and named:
            entry = self._entry(("channels", self.content.channels.index("defaults")), "defaults")
            self.notes.append(entry.note("left out: only conda's own settings say which channels it means"))
        if not named and instead is not None:
            return [instead]
        if not named:
            self.problems.append(
                self.document.problem(
                    ("channels",),
                    "no channel that a host can find: write names or URLs of channels instead of `defaults`, such as "
                    "conda-forge, or say --channel URL",
                )
            )
        return named

    def conda(self) -> Iterator[Entry]:
        """The entries of the conda part."""
        for index, dependency in enumerate(self.content.dependencies):
            if isinstance(dependency, str):
                entry = self._entry(("dependencies", index), dependency)
                try:
                    rattler.MatchSpec(dependency)
                except InvalidMatchSpecError as error:
                    why = f"not a conda dependency ({str(error).splitlines()[0]})"
                    self.problems.append(entry.problem(f"{why}: write name=version or name=version=build"))
                else:
                    yield entry

    def pip(self) -> Iterator[Entry]:
        """The entries of the `pip:` part."""
        for index, dependency in enumerate(self.content.dependencies):
            for key, requirements in dependency.items() if isinstance(dependency, dict) else ():
                if key != "pip":
                    location = ("dependencies", index, key)
                    self.problems.append(self.document.problem(location, f"unknown part '{key}': write `pip:`"))
                    continue
                for at, requirement in enumerate(requirements):
                    entry = self._entry(("dependencies", index, key, at), requirement.strip())
                    why = unlockable(entry.text)
                    if why:
                        self.problems.append(entry.problem(why))
                    else:
                        yield entry

    def _entry(self, location: tuple[str | int, ...], text: str) -> Entry:
        return Entry(self.document.name, self.document.line(location), text)
