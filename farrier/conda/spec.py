"""`envs/<env>.yml`: what a person asks for, in the shape of conda's environment.yml."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from farrier.document import read
from farrier.problems import InvalidInput


class EnvSpec(BaseModel):
    """Channels by name or URL, first the most important, and conda dependencies such as `python=3.11`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = None  # conda's own key; the file's name counts
    channels: list[str] = Field(min_length=1)
    dependencies: list[str] = Field(min_length=1)


def load_spec(path: Path) -> EnvSpec:
    """Read the spec at `path`. Raises InvalidInput with file, line and key of every problem."""
    document = read(path, str(path))
    dependencies = document.data.get("dependencies")
    for index, dependency in enumerate(dependencies if isinstance(dependencies, list) else []):
        if isinstance(dependency, dict):
            message = (
                f"Python packages stand in {path.with_suffix('.in').name} and are locked with their hashes in "
                f"{path.with_suffix('.txt').name}: move them there and remove this sub-list"
            )
            raise InvalidInput([document.problem(("dependencies", index), message)])
    return document.validate(EnvSpec)
