"""Reads everything that a plan is made of: stack files, locks, sources, fixtures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from farrier.document import Document, read
from farrier.migrations import Schema, read_schema
from farrier.problems import InvalidInput, Problem, nearest
from farrier.stack import Env, Stack

_DIGITS = 12  # of a hash in a name: 48 bits, a clash within one stack is out of reach
_IGNORED = {"__pycache__", ".git", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


@dataclass(frozen=True)
class SourceFiles:
    """A source's files as they will lie on the host: path inside the code folder -> file on the controller."""

    files: dict[str, Path]
    hashes: dict[str, str]  # path inside -> sha256

    @property
    def digest(self) -> str:
        """Names the code folder: the hash of all paths and contents."""
        listing = "".join(f"{path}\0{sha}\n" for path, sha in sorted(self.hashes.items()))
        return hashlib.sha256(listing.encode()).hexdigest()[:_DIGITS]


@dataclass(frozen=True)
class EnvFiles:
    """An env's locks on the controller, and the hash that names its prefix. Paths relative to the repository."""

    lock: str
    pip: str | None
    digest: str


@dataclass(frozen=True)
class Loaded:
    """A stack file that is valid by itself, with the files that it names."""

    name: str
    document: Document
    stack: Stack
    sources: dict[str, SourceFiles] = field(default_factory=dict)
    envs: dict[str, EnvFiles] = field(default_factory=dict)
    fixtures: SourceFiles = field(default_factory=lambda: SourceFiles({}, {}))
    schema: Schema | None = None
    problems: tuple[Problem, ...] = ()


def hashed(files: dict[str, Path]) -> SourceFiles:
    """The files with the hash of each."""
    return SourceFiles(files, {inside: sha256(path) for inside, path in files.items()})


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stack_names(root: Path) -> list[str]:
    """The stacks that the repository at `root` knows."""
    return sorted(file.parent.name for file in (root / "stacks").glob("*/stack.yml"))


def load_stacks(root: Path, names: Iterable[str], locks: Path | None = None) -> list[Loaded]:
    """The named stacks of the repository at `root`, in that order. Raises InvalidInput with all their problems."""
    loaded, problems = [], []
    for name in names:
        try:
            loaded.append(load_stack(root, name, locks))
        except InvalidInput as error:
            problems += error.problems
    problems += [problem for stack in loaded for problem in stack.problems]
    if problems:
        raise InvalidInput(problems)
    return loaded


def load_stack(root: Path, name: str, locks: Path | None = None) -> Loaded:
    """One stack. Raises InvalidInput for its file alone; problems with the files that it names are in the result."""
    file = root / "stacks" / name / "stack.yml"
    if not file.exists():
        known = nearest(name, stack_names(root))
        raise InvalidInput([Problem(f"stacks/{name}/stack.yml", 0, "", f"there is no stack '{name}': {known}")])
    document = read(file, str(file.relative_to(root)))
    reader = _Reader(root, file.parent, document, document.validate(Stack), locks)
    return Loaded(
        name=name,
        document=document,
        stack=reader.stack,
        sources=dict(reader.sources()),
        envs=dict(reader.envs()),
        fixtures=hashed(dict(reader.fixtures())),
        schema=reader.schema(),
        problems=tuple(reader.problems),
    )


@dataclass
class _Reader:
    """Reads the files of one stack and collects what is wrong with them."""

    root: Path
    folder: Path
    document: Document
    stack: Stack
    locks: Path | None
    problems: list[Problem] = field(default_factory=list)

    def sources(self) -> Iterator[tuple[str, SourceFiles]]:
        """The sources whose folders are there."""
        for name, source in self.stack.sources.items():
            folder = (self.folder / source.path).resolve()
            if not folder.is_relative_to(self.root.resolve()):
                self._wrong(("sources", name, "path"), f"{source.path} lies outside this repository")
                continue
            if not folder.is_dir():
                self._wrong(("sources", name, "path"), f"no such folder: {source.path}")
                continue
            files = {str(Path(source.into) / path.relative_to(folder)): path for path in _files(folder)}
            yield name, hashed(files)

    def envs(self) -> Iterator[tuple[str, EnvFiles]]:
        """The envs whose locks are there."""
        for name, env in self.stack.envs.items():
            lock, pip = self._lock(name, env), self._pip(name, env)
            if lock is not None and (pip is not None or env.pip is None):
                yield name, EnvFiles(self._shown(lock), self._shown(pip) if pip else None, env_digest(lock, pip))

    def fixtures(self) -> Iterator[tuple[str, Path]]:
        """The files that verify steps send, by their name in the release."""
        for index, step in enumerate(self.stack.verify):
            if step.file is None:
                continue
            path = self.folder / step.file
            if path.is_file():
                yield path.name, path
            else:
                self._wrong(("verify", index, "file"), f"no such file: {step.file}")

    def schema(self) -> Schema | None:
        """What the migrations say, where the stack has any and they are right."""
        asked = self.stack.database_schema
        source = self.stack.sources.get(asked.source) if asked else None
        if asked is None or source is None:
            return None
        folder = (self.folder / source.path).resolve() / asked.versions
        if not folder.is_relative_to(self.root.resolve()):
            return None  # told at the source
        schema, problems = read_schema({self._shown(path): path for path in folder.glob("*.py")})
        self.problems += problems
        if schema is None and not problems:
            self._wrong(
                ("schema", "versions"), f"no migration in {source.path}/{asked.versions}; the first is 0001_….py"
            )
        return schema

    def _lock(self, name: str, env: Env) -> Path | None:
        own = self.folder / env.conda
        candidates = [self.locks / self.folder.name / env.conda, own] if self.locks else [own]
        for candidate in candidates:
            if candidate.is_file():
                return candidate
        self._wrong(
            ("envs", name, "conda"),
            f"{env.conda} does not exist; make it from {Path(env.conda).with_suffix('.yml')} "
            f"with `farrier lock {self.folder.name}/{name}`",
        )
        return None

    def _pip(self, name: str, env: Env) -> Path | None:
        if env.pip is None or (self.folder / env.pip).is_file():
            return self.folder / env.pip if env.pip else None
        self._wrong(("envs", name, "pip"), f"{env.pip} does not exist; `make lock` makes it from {name}.in")
        return None

    def _wrong(self, location: tuple[str | int, ...], message: str) -> None:
        self.problems.append(self.document.problem(location, message))

    def _shown(self, path: Path) -> str:
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)


def env_digest(lock: Path, pip: Path | None) -> str:
    """The hash that names an env's prefix: of both locks and the platform."""
    content = lock.read_bytes() + b"\0" + (pip.read_bytes() if pip else b"") + b"\0linux-64"
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def runtime_files(root: Path) -> SourceFiles:
    """The small programs of Farrier's own that units start with: they travel with each stack's code."""
    folder = root / "host" / "farrier_host" / "runtime"
    return hashed({path.name: path for path in _files(folder)})


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not _IGNORED.intersection(parts) and not parts[-1].startswith("."):
            yield path
