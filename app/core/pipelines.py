"""The pipelines of a stack as data: programs, steps and options, read from the file that the release wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

Value = bool | int | float | str
YES = ("true", "1", "yes", "on")
NO = ("false", "0", "no", "off")


class OptionError(ValueError):
    """A user's value for an option is wrong; the message says what is allowed."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NumberOption(_Strict):
    """A whole or decimal number within bounds."""

    type: Literal["integer", "number"]
    default: float
    minimum: float
    maximum: float
    title: str = ""
    recorded: bool = False

    def parse(self, text: str) -> Value:
        """The number that the text says; raises OptionError."""
        try:
            value = int(text) if self.type == "integer" else float(text)
        except ValueError:
            value = float("nan")
        if not self.minimum <= value <= self.maximum:
            raise OptionError(f"{text[:40]!r} is not allowed; give a number from {self.minimum:g} to {self.maximum:g}")
        return value


class BooleanOption(_Strict):
    """Yes or no."""

    type: Literal["boolean"]
    default: bool
    title: str = ""
    recorded: bool = False

    def parse(self, text: str) -> Value:
        """The truth that the text says; raises OptionError."""
        if text.lower() not in YES + NO:
            raise OptionError(f"{text[:40]!r} is not allowed; give true or false")
        return text.lower() in YES


class ChoiceOption(_Strict):
    """One of a few words."""

    type: Literal["choice"]
    default: str
    choices: tuple[str, ...]
    titles: dict[str, str] = {}  # what people call a choice, where it is not its word
    title: str = ""
    recorded: bool = False

    def parse(self, text: str) -> Value:
        """The chosen word; raises OptionError."""
        if text not in self.choices:
            raise OptionError(f"{text[:40]!r} is not allowed; choose one of: {', '.join(self.choices)}")
        return text


Option = Annotated[NumberOption | BooleanOption | ChoiceOption, Field(discriminator="type")]


ErrorCode = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{1,39}$")]


class Step(_Strict):
    """One program of a pipeline, the seconds that it may take, and what its failing is called.

    It is the module `steps.<name>`, or what `command` gives to the Python besides; see `app.core.runner`.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    timeout: float = Field(600, gt=0)
    python: Path | None = None  # the pipeline's where there is none
    environment: dict[str, str] = {}
    error: ErrorCode = "PIPELINE_ERROR"
    exit_codes: dict[int, ErrorCode] = {}
    command: tuple[str, ...] = ()


class Pipeline(_Strict):
    """Steps that run one after the other over one work folder, with the Python of their own env; none is a no-op.

    `timeout` is what all of them together may take, in seconds. An option that is `recorded` is taken and kept with
    the job, and changes nothing.
    """

    title: str
    python: Path
    code: Path
    steps: tuple[Step, ...]
    timeout: float = Field(1800, gt=0)
    options: dict[str, Option] = {}
    models: dict[str, Path] = {}

    def parse_options(self, given: Mapping[str, str]) -> dict[str, Value]:
        """The value of every option, from what the user gave and the defaults; raises OptionError."""
        for name in given:
            if name not in self.options:
                known = ", ".join(self.options) or "none"
                raise OptionError(f"{name}: there is no such option here; this pipeline's options: {known}")
        values: dict[str, Value] = {}
        for name, option in self.options.items():
            default = int(option.default) if option.type == "integer" else option.default
            try:
                values[name] = option.parse(given[name].strip()) if given.get(name, "").strip() else default
            except OptionError as error:
                raise OptionError(f"{name}: {error}") from None
        return values


class _File(RootModel[dict[str, Pipeline]]):
    pass


def read_pipelines(path: Path) -> dict[str, Pipeline]:
    """The pipelines of the file by name; raises ValueError that names the file and every wrong key."""
    try:
        return _File.model_validate_json(path.read_bytes()).root
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ValueError(f"{path}: {problems}") from None
