"""The small value types of a stack file: sizes, durations, names, references to models."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints

_SIZES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
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


Size = Annotated[int, BeforeValidator(parse_size, json_schema_input_type=int | str), Field(ge=0)]
PositiveDuration = Annotated[
    int, BeforeValidator(parse_duration, json_schema_input_type=int | str), Field(gt=0, le=30 * 86400)
]
Duration = Annotated[int, BeforeValidator(parse_duration, json_schema_input_type=int | str), Field(ge=0)]

# A stack's name becomes a Linux user, and with a service's a unit and a socket path (108 bytes at most).
StackName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,23}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
# A module under `steps`, so a Python name.
StepName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
UrlPath = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._~/-]*$")]
PythonTarget = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.-]*:[A-Za-z_]\w*(\(\))?$")]
ModelReference = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9._-]*$")]
EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$")]


def human_size(size: int) -> str:
    """Bytes for people: `1.5 GiB`."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.3g} {unit}"
        amount /= 1024
    return f"{amount:.3g} TiB"
