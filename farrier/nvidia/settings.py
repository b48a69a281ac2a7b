"""What the role `nvidia` was told: its variables, without the prefix `nvidia_`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Provider = Literal["debian", "ubuntu", "nvidia_repo"]


class Settings(BaseModel):
    """One field a variable. An empty text means: choose."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: Provider | Literal[""] = ""
    module: Literal["", "open", "proprietary"] = ""
    branch: str = ""
    version: str = ""
    replace: bool = False
    upgrade: bool = False
    hold_kernel: bool = True
    reboot: Literal["never", "auto"] = "never"
