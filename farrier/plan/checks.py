"""What must hold between the parts of the stack files on one host. Every check yields problems; none raises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from farrier import paths
from farrier.kinds.asgi import Asgi
from farrier.kinds.base import CodeService, PythonService
from farrier.kinds.celery import Celery
from farrier.load import Loaded
from farrier.problems import Problem, nearest

# Folders under /opt/farrier and /run/farrier that are not a stack's; users of packages that come before a stack's own.
RESERVED = frozenset({"cache", "envs", "gpu", "host", "tools", "caddy", "redis", "root", "nobody"})


def check_stack(loaded: Loaded, models: Sequence[str]) -> Iterator[Problem]:
    """Problems inside one stack. `models` are the references that the manifest knows."""
    yield from _name(loaded)
    yield from _references(loaded)
    yield from _pipelines(loaded)
    yield from _schema(loaded)
    yield from _commands(loaded)
    yield from _order(loaded)
    yield from _models(loaded, models)
    yield from _verify(loaded)


def check_host(stacks: Sequence[Loaded], default_host: str) -> Iterator[Problem]:
    """Problems between the stacks of one host: a unit or a URL prefix that two of them claim."""
    yield from _units(stacks)
    yield from _launchers(stacks)
    owners: dict[tuple[str, str], str] = {}
    for loaded in stacks:
        for location, host, path in _routes(loaded, default_host):
            owner = owners.setdefault((host, path), loaded.name)
            if owner != loaded.name or location[-1] == "again":
                taken = f"https://{host}{path} is already routed to stack '{owner}'; choose another path or host"
                yield loaded.document.problem(location[:-1], taken)


def _units(stacks: Sequence[Loaded]) -> Iterator[Problem]:
    """Stack `a` with service `b-c` and stack `a-b` with service `c` would both have the unit `a-b-c`."""
    owners: dict[str, tuple[str, str]] = {}
    for loaded in stacks:
        for name, service in loaded.stack.services.items():
            unit = f"{loaded.name}-{name}"
            # A web service's second generation is a unit too, for as long as a release goes live.
            for each in (unit, f"{unit}-next") if isinstance(service, Asgi) else (unit,):
                owner, other = owners.setdefault(each, (loaded.name, name))
                if (owner, other) != (loaded.name, name):
                    of = f"of stack '{owner}'" if owner != loaded.name else f"of the service '{other}'"
                    message = f"the unit '{each}' is already one {of}; give the service another name"
                    yield loaded.document.problem(("services", name), message)
                    break


def _launchers(stacks: Sequence[Loaded]) -> Iterator[Problem]:
    """Stack `a` with command `b-c` and stack `a-b` with command `c` would both be called `a-b-c`."""
    owners: dict[str, str] = {}
    for loaded in stacks:
        for name in loaded.stack.commands:
            launcher = paths.launcher(loaded.name, name)
            if owners.setdefault(launcher, loaded.name) != loaded.name:
                message = f"{launcher} is already a command of stack '{owners[launcher]}'; give it another name"
                yield loaded.document.problem(("commands", name), message)


def _name(loaded: Loaded) -> Iterator[Problem]:
    if loaded.name in RESERVED:
        yield Problem(loaded.document.name, 0, "", f"a stack cannot be called '{loaded.name}'; rename its folder")


def _references(loaded: Loaded) -> Iterator[Problem]:
    stack = loaded.stack
    for name, service in stack.services.items():
        if not isinstance(service, CodeService):
            continue
        yield from _known(loaded, ("services", name, "env"), service.env, stack.envs, "env")
        yield from _known(loaded, ("services", name, "source"), service.source, stack.sources, "source")
        if isinstance(service, Celery) and service.broker is not None:
            brokers = {key: other for key, other in stack.services.items() if other.kind == "redis"}
            yield from _known(loaded, ("services", name, "broker"), service.broker, brokers, "service of kind redis")


def _pipelines(loaded: Loaded) -> Iterator[Problem]:
    stack = loaded.stack
    for name, pipeline in stack.pipelines.items():
        for place, env in pipeline.envs():
            yield from _known(loaded, ("pipelines", name, *place), env, stack.envs, "env")
        yield from _known(loaded, ("pipelines", name, "source"), pipeline.source, stack.sources, "source")
        for index, model in enumerate(pipeline.models):
            yield from _known(loaded, ("pipelines", name, "models", index), model, dict.fromkeys(stack.models), "model")


def _schema(loaded: Loaded) -> Iterator[Problem]:
    asked = loaded.stack.database_schema
    if asked is not None:
        yield from _known(loaded, ("schema", "env"), asked.env, loaded.stack.envs, "env")
        yield from _known(loaded, ("schema", "source"), asked.source, loaded.stack.sources, "source")


def _commands(loaded: Loaded) -> Iterator[Problem]:
    services = {name: each for name, each in loaded.stack.services.items() if isinstance(each, PythonService)}
    for name, command in loaded.stack.commands.items():
        place = ("commands", name, "service")
        yield from _known(loaded, place, command.service, services, "service with an env")


def _order(loaded: Loaded) -> Iterator[Problem]:
    services = loaded.stack.services
    graph: dict[str, list[str]] = {}
    for name, service in services.items():
        graph[name] = [other for other in service.after if other in services]
        for other in service.after:
            yield from _known(loaded, ("services", name, "after", other), other, services, "service")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle = list(reversed(error.args[1]))
        message = f"these services wait for each other: {' → '.join(cycle)}; take one of these out of its `after`"
        yield loaded.document.problem(("services", cycle[0], "after"), message)


def _models(loaded: Loaded, models: Sequence[str]) -> Iterator[Problem]:
    for index, model in enumerate(loaded.stack.models):
        if model not in models:
            yield loaded.document.problem(
                ("models", index), f"no model '{model}' in stacks/models.yml: {nearest(model, models)}"
            )


def _verify(loaded: Loaded) -> Iterator[Problem]:
    names: dict[str, str] = {}
    for index, step in enumerate(loaded.stack.verify):
        if step.file is None:
            continue
        other = names.setdefault(Path(step.file).name, step.file)
        if other != step.file:
            message = f"{step.file} and {other} would have the same name in a release; rename one"
            yield loaded.document.problem(("verify", index, "file"), message)
    services = loaded.stack.services.values()
    if loaded.stack.verify and not any(isinstance(service, Asgi) and service.routes for service in services):
        message = "these steps go through the front door, and no service has `routes`; give one a route"
        yield loaded.document.problem(("verify",), message)


def _known(
    loaded: Loaded, location: tuple[str | int, ...], word: str, known: Mapping[str, object], noun: str
) -> Iterator[Problem]:
    if word not in known:
        yield loaded.document.problem(location, f"unknown {noun} '{word}': {nearest(word, list(known))}")


def _routes(loaded: Loaded, default_host: str) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """Every route as (location, host, path); a mark at the location's end says whether the stack had it before."""
    seen: set[tuple[str, str]] = set()
    for name, service in loaded.stack.services.items():
        if not isinstance(service, Asgi):
            continue
        for index, route in enumerate(service.routes):
            target = (route.host or default_host, route.path.rstrip("/") or "/")
            yield ("services", name, "routes", index, "again" if target in seen else "first"), *target
            seen.add(target)
