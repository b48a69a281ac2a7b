"""What the inventory says of a host: the variables that start with `farrier_`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from farrier import paths
from farrier.channel import UNSTABLE
from farrier.kinds.base import Strict
from farrier.problems import InvalidInput, Problem, nearest
from farrier.values import Hostname, Line, Name, StackName, VaultValue

PREFIX = "farrier_"

# Variables of the controller or of the command line, which are not the host's.
_NOT_THE_HOSTS = frozenset(
    {
        "farrier_plan",
        "farrier_state",
        "farrier_who",
        "farrier_reason",
        "farrier_workers",
        "farrier_for",
        "farrier_stack",
        "farrier_release",
        "farrier_secret",
    }
)


class Host(Strict):
    """One machine. Each field is the inventory variable `farrier_<field>`."""

    name: str
    address: str
    stacks: list[StackName] = Field([], description="The stacks that run on this host.")
    hostname: Hostname | None = Field(
        None, description="The name (or address) that people open; the host's address when not given."
    )
    aliases: list[Hostname] = Field([], description="More names or addresses that the front door answers.")
    channel: str = Field(
        UNSTABLE,
        description="Whose stack files it gets: unstable (the tree as it is), stable, a version or a commit.",
    )
    secrets: dict[StackName, dict[Name, VaultValue]] = Field(
        {}, description="Values of the stacks' `secrets`, by stack and name. Only in an encrypted file."
    )
    tokens: dict[Name, VaultValue] = Field(
        {}, description="Tokens for gated models, by the name that `stacks/models.yml` says. Only in an encrypted file."
    )
    locks: str | None = Field(None, description="A folder of conda locks that is looked into before the stack's own.")
    models_root: str = Field(paths.MODELS, description="The host's model store.")
    contact: Line = Field("", description="Whom to ask about this host; people read it before a reboot or an end.")
    http_port: int = Field(80, ge=1, le=65535, description="The front door's port for plain HTTP (it redirects).")
    https_port: int = Field(443, ge=1, le=65535, description="The front door's port for HTTPS.")

    @property
    def public_name(self) -> str:
        """What the front door is called."""
        return self.hostname or self.address


def from_variables(name: str, variables: Mapping[str, Any]) -> Host:
    """The host `name` out of its inventory variables. Raises InvalidInput for unknown or wrong `farrier_` variables."""
    known = set(Host.model_fields) - {"name", "address"}
    given = {key.removeprefix(PREFIX): value for key, value in variables.items() if _is_ours(key)}
    where = f"inventory variables of {name}"
    unknown = [
        Problem(where, 0, PREFIX + key, f"unknown variable: {nearest(PREFIX + key, [PREFIX + each for each in known])}")
        for key in sorted(set(given) - known)
    ]
    try:
        address = str(variables.get("ansible_host", name))
        host = Host(name=name, address=address, **{key: value for key, value in given.items() if key in known})
    except ValidationError as error:
        wrong = [Problem(where, 0, PREFIX + str(each["loc"][0]), each["msg"]) for each in error.errors()]
        raise InvalidInput(unknown + wrong) from None
    if unknown:
        raise InvalidInput(unknown)
    return host


def _is_ours(variable: str) -> bool:
    return variable.startswith(PREFIX) and variable not in _NOT_THE_HOSTS
