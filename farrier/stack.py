"""The stack file: one YAML that says what an application is. The reference is generated from these models."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from farrier.kinds import AnyService
from farrier.kinds.base import Strict
from farrier.pipelines import Pipeline
from farrier.values import Duration, EnvironmentName, Folder, Line, ModelReference, Name, PythonModule, Size


class Source(Strict):
    """Code of the stack, taken from the controller and placed on the host under the hash of its content."""

    path: str = Field(description="A folder, relative to the stack file.")
    into: str = Field("", description="Subfolder of the code folder that it is placed in, for a package: `into: app`.")


class Env(Strict):
    """A conda environment, installed from locks into a prefix named by their hash."""

    conda: str = Field(description="The conda lock, relative to the stack file. `farrier lock` makes it.")
    pip: str | None = Field(None, description="Hashed requirements for uv, on top of the conda packages.")
    disk: Size = Field(600 * 2**20, description="What it takes on disk; preflight asks for it before it is built.")


class Secret(Strict):
    """A secret that the administrator brings: its value stands under `farrier_secrets` in an encrypted variables file.

    A service that names it finds a file of its name in `$CREDENTIALS_DIRECTORY`.
    """

    description: Line = Field(min_length=1, description="What it is, and where one gets it.")
    required: bool = Field(True, description="Whether the stack cannot go without; else what needs it is switched off.")


class Command(Strict):
    """A program for administrators: `<stack>-<name>` on the host, which runs in the place of one of the services.

    It has that service's user, variables, credentials, limits and sandbox.
    """

    service: Name = Field(description="The service (a key under `services`) in whose place it runs.")
    run: PythonModule = Field(description="The program: `python -m …`, out of the service's env and source.")


class VerifyStep(Strict):
    """One request of the verify run, sent through the front door after an activation."""

    get: str | None = Field(None, description="Path to GET; `{job.job_id}` takes a field of a saved answer.")
    post: str | None = Field(None, description="Path to POST.")
    delete: str | None = Field(None, description="Path to DELETE.")
    file: str | None = Field(None, description="A file sent as the form field `file`, relative to the stack file.")
    save: Name | None = Field(None, description="Keep the JSON answer under this name for later steps.")
    status: int = Field(200, ge=100, le=599, description="The HTTP status that is right.")
    until: dict[str, Any] = Field({}, description="Ask again until the JSON answer has these values.")
    within: Duration = Field(30, description="How long the step may take, all its requests together.")

    @model_validator(mode="after")
    def _one_method(self) -> VerifyStep:
        if sum(path is not None for path in (self.get, self.post, self.delete)) != 1:
            raise ValueError("write exactly one of get, post and delete")
        if self.file is not None and self.post is None:
            raise ValueError("only post can send a file")
        return self

    @property
    def request(self) -> tuple[str, str]:
        """The HTTP method and the path."""
        named = {"GET": self.get, "POST": self.post, "DELETE": self.delete}
        return next((method, path) for method, path in named.items() if path is not None)


class Schema(Strict):
    """The stack's database: its migrations, and the program that applies them once before new code serves."""

    env: Name = Field(description="The env that the program runs in.")
    source: Name = Field("app", description="The source (a key under `sources`) that holds program and migrations.")
    run: PythonModule = Field(description="The program: `python -m …`. How it is called: docs/how-to/migrations.md.")
    versions: Folder = Field(description="The folder of the migrations, inside the source's folder.")


class Requires(Strict):
    """What the host must offer besides envs, models and the services' memory."""

    disk: Size = Field(2**30, description="Free room for the stack's data.")
    memory: Size = Field(0, description="Memory beyond what the services' limits add up to.")


class Stack(Strict):
    """One application, deployed, released and undone as a whole."""

    description: Line = Field(min_length=1, description="One line for people.")
    sources: dict[Name, Source] = Field({}, description="Where the code comes from.")
    envs: dict[Name, Env] = Field({}, description="The environments that the services and pipelines run in.")
    models: list[ModelReference] = Field([], description="Weights from `stacks/models.yml`: `id@version`.")
    services: dict[Name, AnyService] = Field(min_length=1, description="The processes, by name; see the kinds below.")
    pipelines: dict[Name, Pipeline] = Field({}, description="Scientific programs that a worker runs step by step.")
    secrets: dict[Name, Secret] = Field({}, description="Secrets from the vault, for the services that name them.")
    commands: dict[Name, Command] = Field({}, description="Programs for administrators, on the host.")
    # pydantic's own models have something called `schema`
    database_schema: Schema | None = Field(None, alias="schema", description="Migrations of the stack's database.")
    environment: dict[EnvironmentName, Line] = Field(
        {}, description="Variables for all of the stack's own code, such as its settings. Never a secret."
    )
    verify: list[VerifyStep] = Field([], description="The success signal of a deploy.")
    requires: Requires = Field(Requires(disk=2**30, memory=0), description="What the host must have besides.")
