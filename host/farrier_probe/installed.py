"""What roles put on a host, each compared by the same code that the role's module uses."""

from __future__ import annotations

import glob
import os
import stat
from pathlib import Path
from typing import Any

from ansible.module_utils.farrier_accounts import Maker
from ansible.module_utils.farrier_staged import sha256_of
from ansible.module_utils.farrier_tools import tools_folder
from ansible.module_utils.model_folder import is_complete, parse

from farrier_env.check import aside, damages


def ready(markers: str) -> list[str]:
    """The folders that hold one of `markers`, a glob for the file that is written last."""
    return sorted(os.path.dirname(path) for path in glob.glob(markers))


def accounts(stacks: list[dict[str, Any]]) -> list[str]:
    """Users, folders and secrets that are missing or not as they should be."""

    def refuse(command: list[str]) -> None:
        raise AssertionError(command)

    maker = Maker(refuse, only_look=True)
    for stack in stacks:
        maker.stack(stack)
    made: list[str] = maker.made
    return made


def env_problems(prefix: str) -> list[str]:
    """What is wrong with the env: conda's files are hashed, Python packages' ones compared by size."""
    try:
        found = damages(Path(prefix), "fast")
    except (OSError, ValueError, KeyError) as error:
        return [f"cannot be looked at: {error}"]
    if found is None:
        return ["absent"]
    return found + (["a repair was cut off"] if aside(Path(prefix)).exists() else [])


def installer(tools: dict[str, str]) -> bool:
    """Whether the installer of envs is there, in the version that the controller has."""
    return os.path.exists(os.path.join(tools_folder(tools["folder"], tools["content"]), ".ready"))


def fetched(cache: str) -> list[str]:
    """The conda packages that lie in the cache, by name, version and build: they need not be downloaded again."""
    return sorted(os.path.basename(os.path.dirname(path)) for path in glob.glob(f"{cache}/conda/*/info"))


def missing_models(models: list[dict[str, Any]]) -> list[str]:
    """The models that are not whole, by size and time of each file."""
    return [model.reference for model in map(parse, models) if not is_complete(model)]


def touch(folders: list[str]) -> None:
    """Note that a deploy asks for them: `farrier-release collect` spares them until its release is live."""
    for folder in filter(os.path.isdir, folders):
        os.utime(folder)


def files(paths: list[str]) -> dict[str, dict[str, str] | None]:
    """SHA-256 and mode of each file; None where there is none."""
    return {path: _file(path) for path in paths}


def _file(path: str) -> dict[str, str] | None:
    sha256 = sha256_of(path)
    return None if sha256 is None else {"sha256": sha256, "mode": f"{stat.S_IMODE(os.stat(path).st_mode):04o}"}
