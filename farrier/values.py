"""The small value types of a stack file: sizes, durations, names, references to models."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints

_SIZES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_MOST_CARDS = 64  # of one host
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_size(value: object) -> int:
    """Bytes from `512M`, `1.5G` or a plain number. Raises ValueError that says how to write it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", str(value))
    if not match:
        raise ValueError("write a size like 512M or 2G")
    return int(float(match[1]) * _SIZES[match[2]])


def parse_duration(value: object) -> int:
    """Seconds from `90`, `90s`, `30m`, `2h` or `1d`. Raises ValueError that says how to write it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = re.fullmatch(r"(\d+)\s*([smhd])", str(value))
    if not match:
        raise ValueError("write a duration like 90s, 30m or 2h")
    return int(match[1]) * _SECONDS[match[2]]


def parse_capability(value: object) -> str:
    """A CUDA compute capability such as `7.5`, also where YAML made a number of it. Raises ValueError."""
    text = f"{value}.0" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    if not re.fullmatch(r"\d{1,2}\.\d", text):
        raise ValueError('write a compute capability like "7.5" (https://developer.nvidia.com/cuda-gpus)')
    return text


def capability_key(capability: str) -> tuple[int, int]:
    """What capabilities are compared by: `10.0` is above `9.0`."""
    major, _, minor = capability.partition(".")
    return int(major), int(minor)


def parse_pci(value: object) -> str:
    """A PCI address as sysfs writes it, `0000:3b:00.0`; NVIDIA's tools write a longer domain. Raises ValueError."""
    match = re.fullmatch(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])", str(value).lower())
    if not match:
        raise ValueError('write a PCI address in quotation marks, like "0000:3b:00.0" (`lspci -D -d 10de:` shows them)')
    return f"{int(match[1] or '0', 16):04x}:{match[2]}"


def parse_card(value: object) -> int | str:
    """A GPU as a stack file names it: its index in `farrier_gpus`, or its PCI address. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str):
        return parse_pci(value)
    raise ValueError('name a card by its place in farrier_gpus (0 is the first) or by its PCI address "0000:3b:00.0"')


def parse_count(value: object) -> int | str:
    """How many cards: a number or `all`. Raises ValueError that says how to write it."""
    if value == "all" or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST_CARDS):
        return value
    raise ValueError(f"write a number of cards from 1 to {_MOST_CARDS}, or all")


Size = Annotated[int, BeforeValidator(parse_size, json_schema_input_type=int | str), Field(ge=0, le=2**50)]
PositiveDuration = Annotated[
    int, BeforeValidator(parse_duration, json_schema_input_type=int | str), Field(gt=0, le=30 * 86400)
]
Duration = Annotated[int, BeforeValidator(parse_duration, json_schema_input_type=int | str), Field(ge=0, le=30 * 86400)]

Memory = Annotated[int, BeforeValidator(parse_size, json_schema_input_type=int | str), Field(ge=2**20, le=2**50)]
Capability = Annotated[str, BeforeValidator(parse_capability, json_schema_input_type=float | str)]
PciAddress = Annotated[str, BeforeValidator(parse_pci)]
Card = Annotated[int | str, BeforeValidator(parse_card)]
CardCount = Annotated[int | Literal["all"], BeforeValidator(parse_count)]


# The plan's own variables. The other FARRIER_ ones are settings of the stack's code, which a stack file may choose.
_PLANNED = re.compile(
    r"FARRIER_(STACK|STACK_GPUS|SERVICE|INSTANCE|STATE|QUEUES|BELLS|IDLE|GPU_CARDS|GPU_MEMORY|PIPELINES|RELEASE|BOOT_ID|PUBLIC_URL"
    r"|\w+_SOCKET|\w+_TIMER)"
)


def _not_ours(name: str) -> str:
    """What Farrier itself gives to a process cannot be given another value by the way."""
    if (
        _PLANNED.fullmatch(name)
        or name.startswith(("PYTHON", "LD_"))
        or name in ("PATH", "CREDENTIALS_DIRECTORY", "HOME", "USER")
    ):
        raise ValueError(f"{name} is Farrier's own to set; choose another name")
    return name


def _vault_value(value: object) -> object:
    """The value of a secret. `ansible-inventory` tells one that is encrypted alone, and not its whole file, so."""
    if isinstance(value, dict) and set(value) == {"__ansible_vault"}:
        return str(value["__ansible_vault"])
    if not isinstance(value, str):
        raise ValueError("write a text in quotation marks")  # noqa: TRY004 - pydantic tells a ValueError
    return value


def _not_the_runner_s(name: str) -> str:
    """What a step finds where the runner puts it; everything else is the scientists' to set."""
    if name.startswith("FARRIER_") or name in ("PATH", "HOME", "TMPDIR", "CREDENTIALS_DIRECTORY"):
        raise ValueError(f"{name} is set for every step by Farrier; choose another name")
    return name


def _only_env(value: str) -> str:
    """`{env}` is the one thing that is put in; another word in braces would reach the program as it stands."""
    other = next((found for found in re.findall(r"\{(\w+)\}", value) if found != "env"), None)
    if other:
        raise ValueError(f"'{{{other}}}' is nothing that is known here; '{{env}}' is the prefix of the step's env")
    return value


# A stack's name becomes a Linux user, and with a service's a unit and a socket path (108 bytes at most).
_STACK_NAME = r"^[a-z][a-z0-9-]{0,23}$"
_NAME = r"^[a-z][a-z0-9-]{0,31}$"
_STEP = r"^[a-z][a-z0-9_]{0,63}$"  # a module under `steps`, so a Python name
_PATH = r"^(/|(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?)$"
_HOST = r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$|^[0-9a-fA-F:]+$"
_TARGET = r"^[A-Za-z_][\w.-]*:[A-Za-z_]\w*(\(\))?$"
_MODULE = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"
_FOLDER = r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$"
_MODEL = r"^[a-z0-9][a-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9._-]*$"
# Of a server on this host, because a unit reaches no other; a password has no place in it.
_LEDGER = r"^postgresql://[\w.-]+@((localhost|127\.0\.0\.1)(:\d{1,5})?/[\w.-]+|/[\w.-]+\?host=/[\w./-]+)$"
_VARIABLE = r"^[A-Z][A-Z0-9_]*$"
_STEP_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
_ERROR_CODE = r"^[A-Z][A-Z0-9_]{1,39}$"
_LINE = r"^[^\x00-\x1f\x7f]*$"

VaultValue = Annotated[SecretStr, BeforeValidator(_vault_value), Field(min_length=1)]
StackName = Annotated[str, StringConstraints(pattern=_STACK_NAME)]
Name = Annotated[str, StringConstraints(pattern=_NAME)]
StepName = Annotated[str, StringConstraints(pattern=_STEP)]
UrlPath = Annotated[str, StringConstraints(pattern=_PATH)]
Hostname = Annotated[str, StringConstraints(pattern=_HOST, max_length=253)]
PythonTarget = Annotated[str, StringConstraints(pattern=_TARGET)]
PythonModule = Annotated[str, StringConstraints(pattern=_MODULE)]
Folder = Annotated[str, StringConstraints(pattern=_FOLDER)]
ModelReference = Annotated[str, StringConstraints(pattern=_MODEL)]
LedgerAddress = Annotated[str, StringConstraints(pattern=_LEDGER)]
EnvironmentName = Annotated[str, StringConstraints(pattern=_VARIABLE), AfterValidator(_not_ours)]
Line = Annotated[str, StringConstraints(pattern=_LINE)]
StepVariable = Annotated[str, StringConstraints(pattern=_STEP_VARIABLE), AfterValidator(_not_the_runner_s)]
StepValue = Annotated[str, StringConstraints(pattern=_LINE), AfterValidator(_only_env)]
ErrorCode = Annotated[str, StringConstraints(pattern=_ERROR_CODE)]

# What to write instead, for the patterns that say it badly.
HINTS = {
    _STACK_NAME: "write lower-case letters, digits and hyphens, at most 24, a letter first",
    _NAME: "write lower-case letters, digits and hyphens, at most 32, a letter first",
    _STEP: "write lower-case letters, digits and underscores, a letter first",
    _PATH: "write a path like / or /demo/api",
    _HOST: "write a hostname like demo.example.org, or an address",
    _TARGET: "write module:name, or module:factory()",
    _MODULE: "write a module like app.core.migrate",
    _FOLDER: "write a folder like core/versions, without a slash before or behind",
    _MODEL: "write id@version",
    _LEDGER: "write postgresql://USER@/DATABASE?host=/run/postgresql or postgresql://USER@localhost/DATABASE, "
    "of a server on this host, without a password",
    _VARIABLE: "write a name like LOG_LEVEL",
    _STEP_VARIABLE: "write a name like LD_LIBRARY_PATH",
    _ERROR_CODE: "write a code like SEGMENTATION_FAILED",
    _LINE: "write one line, without control characters",
}


def human_size(size: int) -> str:
    """Bytes for people: `1.5 GiB`."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.3g} {unit}"
        amount /= 1024
    return f"{amount:.3g} TiB"
