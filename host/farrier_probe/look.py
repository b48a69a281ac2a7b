"""The one look at a host that every decision of a deploy rests on.

It changes nothing but the time of what a coming release asks for, and not even that in check mode.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.module_utils import farrier_gpu

from farrier_probe import machine, release
from farrier_probe.installed import accounts, env_problems, fetched, files, installer, missing_models, ready, touch

Json = dict[str, Any]
_WANTS = "/etc/systemd/system/{}.wants/{}"
# What of farrier-release systemd starts at boot.
_AT_BOOT = {
    "farrier-release-recover.service": "sysinit.target",
    "farrier-reboot-guard.service": "multi-user.target",
}


def look(request: Json) -> Json:
    """The state of the host. `request` says what is asked for: see farrier/probe.py."""
    with ThreadPoolExecutor(6) as pool:  # hashing, and waiting for systemctl and dpkg, go side by side
        packages = pool.submit(machine.packages, request["packages"])
        front_up = pool.submit(release.is_up_and_enabled, "caddy.service")
        gpu = pool.submit(farrier_gpu.look)
        watched = pool.submit(release.is_up_and_enabled, "farrier-gpus.service") if request["gpus"] else None
        problems = {env["prefix"]: pool.submit(env_problems, env["prefix"]) for env in request["envs"]}
        stacks = {name: pool.submit(release.live_state, name) for name in request["users"]}
        found = _found_at_once(request)
        if request["asks"] and not _is_live(found):
            touch([*request["asks"], *(model["path"] for model in request["wanted_models"])])
        return found | {
            "packages": packages.result(),
            "front_up": front_up.result(),
            "gpu": gpu.result(),
            "watched": watched is None or watched.result(),
            "env_problems": {prefix: future.result() for prefix, future in problems.items()},
            "live_files": {name: future.result().pop("files") for name, future in stacks.items()},
            "health": {name: future.result() for name, future in stacks.items()},
        }


def _is_live(found: Json) -> bool:
    """Whether every stack's release is staged, and the one that is live."""
    return all(release and found["live"].get(stack) == release for stack, release in found["staged"].items())


def _found_at_once(request: Json) -> Json:
    return {
        "os": machine.operating_system(),
        "memory": machine.memory(),
        "disks": {folder: machine.disk(folder) for folder in request["folders"]},
        "listeners": machine.listeners(),
        "users": {name: machine.user(name) for name in request["users"]},
        "units": machine.units(request["units"]),
        "launchers": machine.owners(request["launchers"]),
        "envs": ready(f"{release.ROOT}/envs/*/.ready"),
        "models": ready(f"{request['models_root']}/*/*/.complete"),
        "live": release.live(),
        "boxes": release.boxes(),
        "not_at_boot": [unit for unit, by in _AT_BOOT.items() if not os.path.exists(_WANTS.format(by, unit))],
        "caddyfile": machine.first_line("/etc/caddy/Caddyfile"),
        "accounts": _complaints(lambda: accounts(request["stacks"])),
        "installer": installer(request["tools"]),
        "missing_models": _complaints(lambda: missing_models(request["wanted_models"])),
        "files": files(request["files"]),
        "fetched": fetched(request["cache"]),
        "staged": {stack["name"]: release.staged(stack) for stack in request["releases"]},
    }


def _complaints(find: Callable[[], Iterable[str]]) -> list[str]:
    """What is found wrong; what cannot be looked at is wrong, too: the module that mends it says why."""
    try:
        return list(find())
    except Exception as error:  # noqa: BLE001 - a look that fails must not end the run: the module tells better
        return [f"cannot be looked at: {error}"]
