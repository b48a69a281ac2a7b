"""A stack's plan as the text files of a release: units, Caddy fragments, plan.json. Pure: no host, no clock."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from farrier import paths
from farrier.plan.model import RoutePlan, StackPlan


def release_files(stack: StackPlan, templates: Path) -> dict[str, str]:
    """The release's text files: path in the release -> content. `templates` is the folder `systemd/`."""
    environment = _environment(templates)
    units = {f"units/{unit.file}": environment.get_template(unit.template).render(unit.context) for unit in stack.units}
    units |= _next_generation(stack, environment)
    whole = {"stack": stack.name, "description": stack.description}
    for name in (f"{stack.name}.target", paths.slice_of(stack.name)):
        units[f"units/{name}"] = environment.get_template(f"stack.{name.rpartition('.')[2]}.j2").render(whole)
    return units | fragments(stack) | {"plan.json": plan_json(stack)}


def _next_generation(stack: StackPlan, environment: Environment) -> dict[str, str]:
    """The units that serve while a web service restarts: the same, with a name and a socket of their own."""
    files = {}
    for bridge in stack.bridges:
        own = {"unit": f"{bridge.unit}-next", "socket": bridge.next, "is_next": True}
        for suffix in (".socket", ".service"):
            unit = next(each for each in stack.units if each.file == bridge.unit + suffix)
            files[f"next/{own['unit']}{suffix}"] = environment.get_template(unit.template).render(unit.context | own)
    return files


def plan_json(stack: StackPlan) -> str:
    """What the host itself must know of the stack, as farrier-release reads it."""
    return json.dumps(stack.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"


def fragments(stack: StackPlan) -> dict[str, str]:
    """The Caddy fragment for each hostname, which the hostname's site file imports."""
    ordered = sorted(stack.routes, key=lambda route: (route.host, route.path))
    return {
        f"caddy/{host}.d/{stack.name}.caddy": _fragment(stack.name, list(routes))
        for host, routes in groupby(ordered, key=lambda route: route.host)
    }


def _fragment(stack: str, routes: Sequence[RoutePlan]) -> str:
    head = f"# Farrier: stack {stack}. Written by farrier-release; the next release replaces it.\n"
    return head + "".join(_route(route) for route in routes)


def _route(route: RoutePlan) -> str:
    prefix = route.path.rstrip("/")
    matcher = f"handle_path {prefix}/*" if route.strip and prefix else f"handle {prefix}/*" if prefix else "handle"
    bare = (
        f"redir {prefix} {prefix}/\n"
        if route.strip and prefix
        else f"handle {prefix} {{\n{_proxy(route)}}}\n"
        if prefix
        else ""
    )
    return f"{bare}{matcher} {{\n{_proxy(route)}}}\n"


def _proxy(route: RoutePlan) -> str:
    # A probe's header would make the service name its processes: it is for the guard alone.
    # A kept connection would lead to the generation that is just leaving.
    once = "\t\ttransport http {\n\t\t\tkeepalive off\n\t\t}\n"
    return f"\treverse_proxy unix/{route.socket} {{\n\t\theader_up -X-Farrier-Probe\n{once}\t}}\n"


def _environment(templates: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(templates), undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    environment.filters |= {"exec_word": exec_word, "environment_word": environment_word}
    return environment


def exec_word(value: str) -> str:
    """`value` as one word of an Exec line, where systemd would replace `$NAME`."""
    return environment_word(value.replace("$", "$$"))


def environment_word(value: str) -> str:
    """`value` as one word of a unit file: quoted where needed, with systemd's own characters taken literally."""
    if any(character in value for character in "\n\r\0"):
        raise ValueError(f"a value in a unit file cannot hold a line break: {value!r}")
    plain = value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return plain if re.fullmatch(r"[\w@%+=:,./()$-]+", plain) else f'"{plain}"'
