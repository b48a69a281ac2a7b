"""The pipelines of a stack file, and what becomes of them in the file that the stack's services read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from farrier.kinds.base import Strict
from farrier.values import ErrorCode, Line, ModelReference, Name, PositiveDuration, StepName, StepValue, StepVariable

ExitCode = Annotated[int, Field(ge=1, le=255)]
Variables = dict[StepVariable, StepValue]
FIELDS = frozenset({"file", "email", "retain_results"})  # of the upload form, beside the pipeline's options
PLACES = ("work", "input", "output", "config", "options")  # that a step's command may name in braces


class Step(Strict):
    """One program of a pipeline: `python -m steps.<name> WORKDIR [--options JSON] [--config PATH]`."""

    name: StepName = Field(description="The module under `steps`.")
    timeout: PositiveDuration = Field(600, description="After this its processes are killed and the job fails.")
    env: Name | None = Field(None, description="The step's own env, where it is not the pipeline's.")
    environment: Variables = Field({}, description="Variables besides the pipeline's.")
    error: ErrorCode = Field("PIPELINE_ERROR", description="The job's error code when it fails without one of its own.")
    exit_codes: dict[ExitCode, ErrorCode] = Field({}, description="Error codes of single exit codes.")
    command: list[Line] = Field(
        [],
        description="For a program that is no module of `steps`: what the env's Python gets. `{work}`, `{input}`, "
        "`{output}`, `{config}`, `{options}` and `{option.<name>}` are replaced, and no result file is asked for.",
    )


class Option(Strict):
    """A setting of a pipeline that users may choose, with its bounds."""

    type: Literal["integer", "number", "boolean", "choice"] = Field(description="What it takes.")
    default: bool | int | float | str = Field(description="Used when nothing is chosen.")
    title: str | None = Field(None, description="What people call it.")
    minimum: float | None = Field(None, description="Of an integer or a number, where it is required.")
    maximum: float | None = Field(None, description="Of an integer or a number, where it is required.")
    choices: list[str] | None = Field(None, min_length=1, description="Of a choice, where it is required.")
    titles: dict[str, Line] | None = Field(None, description="Of a choice: what people call its words.")
    recorded: bool = Field(False, description="It is taken and kept with the job, and changes nothing.")

    @model_validator(mode="after")
    def _bounds_that_fit(self) -> Option:
        bounded = self.minimum is not None and self.maximum is not None
        if self.type in ("integer", "number") and not bounded:
            raise ValueError("write a minimum and a maximum")
        if self.type == "choice" and self.choices is None:
            raise ValueError("write the choices")
        if not self._allows(self.default):
            raise ValueError(f"the default {self.default!r} is nothing that a user could choose")
        return self

    def _allows(self, value: bool | float | str) -> bool:
        if self.type == "choice":
            return value in (self.choices or ()) and set(self.titles or ()) <= set(self.choices or ())
        if self.type == "boolean" or isinstance(value, bool | str):
            return self.type == "boolean" and isinstance(value, bool)
        whole = self.type == "number" or float(value).is_integer()
        return whole and (self.minimum or 0) <= value <= (self.maximum or 0)


class Pipeline(Strict):
    """Steps that run one after the other, each a process in the env of the pipeline or in one of its own."""

    title: Line = Field(description="What people call it.")
    env: Name = Field(description="The env of the steps.")
    source: Name = Field("pipeline", description="The source that holds the package `steps`.")
    steps: list[Step] = Field(description="In this order. None makes a job that does nothing, for tests of the site.")
    timeout: PositiveDuration = Field(1800, description="How long a job may take, all its steps together.")
    environment: Variables = Field({}, description="Variables of every step. `{env}` is the prefix of the step's env.")
    options: dict[StepName, Option] = Field({}, description="Given to every step as `--options`.")
    models: list[ModelReference] = Field([], description="Models that the steps read: `id@version`.")

    @model_validator(mode="after")
    def _words_that_are_known(self) -> Pipeline:
        taken = sorted(FIELDS & set(self.options))
        if taken:
            raise ValueError(f"the option '{taken[0]}' has the name of a field of the upload form; choose another name")
        known = {*PLACES, *(f"option.{name}" for name in self.options)}
        for step in self.steps:
            for word in re.findall(r"\{([\w.]+)\}", " ".join(step.command)):
                if word not in known:
                    raise ValueError(f"step {step.name}: '{{{word}}}' is unknown; known are {', '.join(sorted(known))}")
        return self

    def envs(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Every env that it names, each with its place in the file."""
        yield ("env",), self.env
        for index, step in enumerate(self.steps):
            if step.env is not None:
                yield ("steps", index, "env"), step.env


@dataclass(frozen=True)
class Places:
    """Where a pipeline's parts lie on the host."""

    prefixes: Mapping[str, str]  # env -> prefix
    code: Mapping[str, str]  # source -> folder
    models_root: str


def pipeline_data(pipeline: Pipeline, places: Places) -> dict[str, Any]:
    """The pipeline as the stack's web and worker processes read it (`app.core.pipelines.Pipeline`)."""
    models = dict(reference.split("@") for reference in pipeline.models)
    return {
        "title": pipeline.title,
        "python": f"{places.prefixes[pipeline.env]}/bin/python",
        "code": places.code[pipeline.source],
        "steps": [_step(pipeline, step, places) for step in pipeline.steps],
        "timeout": pipeline.timeout,
        "options": {key: option.model_dump(exclude_none=True) for key, option in pipeline.options.items()},
        "models": {model: f"{places.models_root}/{model}/{version}" for model, version in models.items()},
    }


def _step(pipeline: Pipeline, step: Step, places: Places) -> dict[str, Any]:
    prefix = places.prefixes[step.env or pipeline.env]
    variables = pipeline.environment | step.environment
    return step.model_dump(exclude={"env"}) | {
        "python": f"{prefix}/bin/python",
        "environment": {name: value.replace("{env}", prefix) for name, value in variables.items()},
    }
