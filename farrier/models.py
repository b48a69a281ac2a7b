"""`stacks/models.yml`: the weights that stacks may use, each file with its hash, its sources and its origin."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from farrier.document import Document, read
from farrier.problems import InvalidInput, Problem
from farrier.values import Name

FILE = "file:"


def _relative(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise ValueError("write a relative path without '..'")
    return path


def _source(source: str) -> str:
    if source.startswith(FILE):
        _relative(source.removeprefix(FILE))
    elif not source.startswith("https://"):
        raise ValueError("write https://…, or file:<path under stacks/>")
    return source


Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
RelativePath = Annotated[str, AfterValidator(_relative)]
SourceUrl = Annotated[str, AfterValidator(_source)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelFile(_Strict):
    """One file: `path` inside the model's folder, `size` in bytes, `sources` in the order they are tried."""

    path: RelativePath
    sha256: Sha256
    size: int = Field(ge=0)
    sources: tuple[SourceUrl, ...] = Field(min_length=1)


class Origin(_Strict):
    """Where the weights come from: without these four nobody can say whether they may be used."""

    url: str = Field(min_length=1)
    dataset: str = Field(min_length=1)
    method: str = Field(min_length=1)
    licence: str = Field(min_length=1)


class Model(_Strict):
    """Weights in one version; another content is another version."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    version: Word
    files: tuple[ModelFile, ...] = Field(min_length=1)
    origin: Origin
    token: Name | None = None  # of `farrier_tokens`: weights that are given to those who accepted their terms

    @model_validator(mode="after")
    def _token_for_one_server(self) -> Model:
        servers = {urlsplit(source).netloc for file in self.files for source in file.sources}
        if self.token and len(servers - {""}) != 1:
            raise ValueError("a token is for one server: name https sources of one server only, or no token")
        return self

    @property
    def reference(self) -> str:
        """As stack files name it: `nnunet@1`."""
        return f"{self.id}@{self.version}"


class Manifest(_Strict):
    """Every model that a stack may use."""

    models: tuple[Model, ...] = ()

    def find(self, reference: str) -> Model | None:
        """The model `id@version`, if there is one."""
        return next((model for model in self.models if model.reference == reference), None)


def load_manifest(path: Path) -> Manifest:
    """The manifest at `path`. `file:` sources are relative to its folder, and are read and compared here.

    Raises InvalidInput with file, line and key of every problem.
    """
    document = read(path, f"{path.parent.name}/{path.name}")
    manifest = document.validate(Manifest)
    problems = [*_duplicates(document, manifest), *_file_problems(document, manifest, path.parent)]
    if problems:
        raise InvalidInput(problems)
    return manifest


def _duplicates(document: Document, manifest: Manifest) -> Iterator[Problem]:
    references = [model.reference for model in manifest.models]
    for index, reference in enumerate(references):
        if reference in references[:index]:
            yield document.problem(("models", index), f"{reference} is there twice: give it another version")


def _file_problems(document: Document, manifest: Manifest, folder: Path) -> Iterator[Problem]:
    for index, model in enumerate(manifest.models):
        for number, file in enumerate(model.files):
            for position, source in enumerate(file.sources):
                location = ("models", index, "files", number, "sources", position)
                message = _file_problem(model, file, source, folder)
                if message:
                    yield document.problem(location, message)


def _file_problem(model: Model, file: ModelFile, source: str, folder: Path) -> str | None:
    if not source.startswith(FILE):
        return None
    path = folder / source.removeprefix(FILE)
    if not path.is_file():
        return f"no such file: {source.removeprefix(FILE)} under {folder.name}/"
    size = path.stat().st_size
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if (size, digest) == (file.size, file.sha256):
        return None
    return (
        f"model {model.reference}, file {file.path}: expected sha256 {file.sha256} and {file.size} bytes, "
        f"{source} has {digest} and {size} bytes: mend the file, or write a new version with its hash"
    )
