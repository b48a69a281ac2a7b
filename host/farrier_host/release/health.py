"""Whether a live release is as it should be: its files, its units, its gates. Reads only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farrier_host.release import files, gate, state, systemd
from farrier_host.release.bells import is_bell, sleepers, worker_of
from farrier_host.release.bridge import Bridge
from farrier_host.release.decide import effective
from farrier_host.release.files import FileSet
from farrier_host.release.layout import Layout
from farrier_host.release.systemd import Seen

_CODE = re.compile(r"^WorkingDirectory=(/opt/farrier/\S+)$", re.MULTILINE)
_ENVS = "/opt/farrier/envs/"
_PREFIX = re.compile(rf"({_ENVS}[^/\s]+/)bin/")


def complaints(layout: Layout, stack: str, release: str) -> list[str]:
    """What of `release`, which is live, is not as it should be; one line each. Empty: all is well.

    A unit that an administrator disabled or masked is left alone, and readiness, which may hang on it, is not judged.
    """
    plan, wanted = files.read_plan(layout, stack, release), files.of_release(layout, stack, release)
    now, found = state.load(layout, stack), files.live(layout, stack, wanted)
    seen = systemd.look(wanted.instances())
    down = {unit for unit, each in seen.items() if each.is_kept_down}
    up = {unit: each for unit, each in seen.items() if unit not in down and not each.is_down}
    # A worker that sleeps is well; the bell of one that goes over later comes with its new process.
    excused = {*down, *sleepers(found, seen), *(u for u in seen if is_bell(u, found) and worker_of(u) in now.followers)}
    told = [f"{unit} went back by itself: {why.splitlines()[0]}" for unit, why in now.alone.items()]
    told += [f"{name} is not what the release says" for name in _differing(wanted.units, found.units)]
    told += [f"{name} is not what the release says" for name in _differing(wanted.sites, found.sites)]
    told += [f"{unit} does not run" for unit in seen if unit not in up and unit not in excused]
    late = [unit for unit in outdated(plan, up) if unit not in now.followers]
    told += [f"{unit} started before its credentials changed" for unit in late]
    strange = [unit for unit in strangers(found, up) if unit not in now.followers]
    told += [f"{unit} runs another release's code" for unit in strange]
    bridges = [Bridge(layout, spec) for spec in plan.get("bridges", [])]
    told += [f"requests do not lead straight to {bridge.unit}.service" for bridge in bridges if bridge.is_untidy()]
    gates = [] if down else plan["gates"]
    told += [f"{each['unit']} is not ready" for each in gates if not gate.is_ready(each["socket"], each["path"])]
    current = layout.home(stack) / "current"
    if not current.is_symlink() or current.readlink().name != release:
        told.append("the link `current` leads elsewhere")
    return told


def outdated(plan: dict[str, Any], up: Mapping[str, Seen]) -> list[str]:
    """Those of the units `up` that were given credentials which have changed since: a start hands them over."""
    paths = {path for unit in plan["units"] for path in _credentials(unit)}
    changed = {path: int(Path(path).stat().st_mtime) for path in paths if Path(path).exists()}
    return started_before(plan, {name: each.started for name, each in up.items()}, changed)


def started_before(plan: dict[str, Any], started: Mapping[str, int | None], changed: Mapping[str, int]) -> list[str]:
    """Those of the units `started` that came up before one of their credentials `changed`; times in seconds."""
    found = []
    for unit in plan["units"]:
        latest = max((changed.get(path, 0) for path in _credentials(unit)), default=0)
        names = [name for name in unit["starts"] if name in started and name.endswith(".service")]
        found += [name for name in names if latest > (started[name] or latest)]
    return found


def _credentials(unit: dict[str, Any]) -> list[str]:
    context = unit["context"]
    return [*context.get("credentials", {}).values(), *([context["acl"]] if "acl" in context else [])]


def strangers(live: FileSet, seen: Mapping[str, Seen], proc: Path = Path("/proc")) -> list[str]:
    """Those of the units `seen` whose process has another code folder or env than their text in `live` says."""
    running = {unit: proc / str(each.pid) for unit, each in seen.items() if each.pid}
    return [unit for unit, process in running.items() if _is_strange(effective(unit, live)[0], process)]


def _is_strange(text: str, process: Path) -> bool:
    code, prefix = _CODE.search(text), _PREFIX.search(text)
    try:
        folder, program = (str((process / link).readlink()) for link in ("cwd", "exe"))
    except OSError:  # it has just ended
        return False
    is_other_env = prefix is not None and program.startswith(_ENVS) and not program.startswith(prefix[1])
    return is_other_env or (code is not None and folder != code[1])


def missing(layout: Layout, plan: dict[str, Any]) -> list[str]:
    """What a release needs and the host no longer has; empty: it can go live. Paths."""
    envs = [layout.root / "opt/farrier/envs" / identity / ".ready" for identity in plan["envs"]]
    trees = [layout.root / tree["path"].lstrip("/") for tree in plan["code"]]
    configs = [layout.root / path.lstrip("/") for path in plan["config"]]
    return [str(path) for path in (*envs, *trees, *configs) if not path.exists()]


def _differing(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
