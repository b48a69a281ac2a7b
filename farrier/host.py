"""What the inventory says of a host: the variables that start with `farrier_`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError, field_validator

from farrier import paths
from farrier.channel import UNSTABLE
from farrier.document import key_of, message_of
from farrier.kinds.base import Strict
from farrier.problems import InvalidInput, Problem, nearest
from farrier.values import Capability, Hostname, Line, Memory, Name, PciAddress, StackName, VaultValue

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

_SECRET = ("secrets", "tokens")


class Gpu(Strict):
    """A GPU card of the host: an item of `farrier_gpus`. Preflight compares it with the machine."""

    pci: PciAddress = Field(description='Its PCI address: `"0000:3b:00.0"`.')
    model: Line = Field(min_length=1, description="What it is called: `Tesla T4`.")
    memory: Memory = Field(description="What `nvidia-smi` shows as its memory; shares add up to that at most.")
    capability: Capability = Field(description='Its CUDA compute capability: `"7.5"`.')
    owner: Line | None = Field(None, min_length=1, description="Whose it is, in words. No stack gets such a card.")
    minor: int | None = Field(
        None,
        ge=0,
        le=255,
        strict=True,
        description="The number of its `/dev/nvidia…`; its place in the list if not set.",
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
    gpus: list[Gpu] = Field(
        [],
        description="Its GPU cards, in the order of `nvidia-smi`. Not given: it has none for its stacks.",
    )
    models_root: str = Field(paths.MODELS, description="The host's model store.")
    contact: Line = Field("", description="Whom to ask about this host; people read it before a reboot or an end.")
    http_port: int = Field(80, ge=1, le=65535, description="The front door's port for plain HTTP (it redirects).")
    https_port: int = Field(443, ge=1, le=65535, description="The front door's port for HTTPS.")

    @field_validator("gpus")
    @classmethod
    def _told_apart(cls, gpus: list[Gpu]) -> list[Gpu]:
        pci = [gpu.pci for gpu in gpus]
        minors = [index if gpu.minor is None else gpu.minor for index, gpu in enumerate(gpus)]
        for index in range(len(gpus)):
            if pci[index] in pci[:index]:
                raise ValueError(f"cards {pci.index(pci[index])} and {index} have the same address, {pci[index]}")
            if minors[index] in minors[:index]:
                first = minors.index(minors[index])
                raise ValueError(f"cards {first} and {index} are both /dev/nvidia{minors[index]}; mend their `minor`")
        return gpus

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
        wrong = [Problem(where, 0, PREFIX + key_of(each["loc"]), _message(each)) for each in error.errors()]
        raise InvalidInput(unknown + wrong) from None
    if unknown:
        raise InvalidInput(unknown)
    return host


def _is_ours(variable: str) -> bool:
    return variable.startswith(PREFIX) and variable not in _NOT_THE_HOSTS


def _message(detail: Any) -> str:
    """What is wrong, with the value that was found; but never with a secret's."""
    return str(detail["msg"]) if detail["loc"][0] in _SECRET else message_of(Host, detail["loc"], detail)
