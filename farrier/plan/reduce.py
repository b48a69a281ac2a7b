"""What of a stack a host without GPUs leaves out, with everything that hangs on it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from farrier.kinds.asgi import Asgi
from farrier.kinds.base import CodeService, Gpus, PythonService, Service
from farrier.kinds.celery import Celery
from farrier.load import Loaded
from farrier.plan.gpu_words import none_here
from farrier.plan.gpus import for_stacks
from farrier.plan.model import GpuCard, LeftOut
from farrier.problems import Problem
from farrier.stack import Stack


@dataclass(frozen=True)
class Reduced:
    """A stack as a host runs it: `loaded` without what is left out. `on_cpu` are services that would have GPUs."""

    loaded: Loaded
    on_cpu: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    problems: tuple[Problem, ...] = ()


def gpus_of(service: Service) -> Gpus | None:
    """What the service asks for of the host's cards."""
    return service.gpus if isinstance(service, PythonService) else None


def queues(stack: Stack) -> tuple[str, ...]:
    """The queues of the stack's ledger, by those who work for them."""
    workers = (each for each in stack.services.values() if isinstance(each, Celery) and each.contract == "farrier")
    return tuple(dict.fromkeys(queue for worker in workers for queue in worker.queues))


def reduce(loaded: Loaded, cards: Sequence[GpuCard], host: str) -> Reduced:
    """The stack as it runs on a host with these cards: all of it, where one is for stacks."""
    asking = {name: gpus for name, each in loaded.stack.services.items() if (gpus := gpus_of(each))}
    if not asking or for_stacks(cards):
        return Reduced(loaded)
    problems = [
        loaded.document.problem(("services", name, "gpus"), none_here(host, cards))
        for name, gpus in asking.items()
        if gpus.without == "fail"
    ]
    why = f"{host} has no GPU for it"
    gone = _with_dependants(loaded.stack, {name: why for name, gpus in asking.items() if gpus.without == "skip"})
    reduced = _without(loaded, gone)
    problems += _nothing_left(loaded, reduced.stack, gone)
    left_out = (LeftOut(what=what, why=why) for what, why in _all_left_out(loaded, reduced, gone))
    on_cpu = (name for name, gpus in asking.items() if gpus.without == "cpu" and name not in gone)
    return Reduced(reduced, tuple(on_cpu), tuple(left_out), tuple(problems))


def _with_dependants(stack: Stack, gone: dict[str, str]) -> dict[str, str]:
    """Service -> why it is left out, in the order in which one follows from another."""
    gone = dict(gone)
    while True:
        more = {
            name: f"it needs {other}"
            for name, service in stack.services.items()
            if name not in gone and (other := next((each for each in _needs(service) if each in gone), None))
        }
        if not more:
            return gone
        gone |= more


def _needs(service: Service) -> Iterator[str]:
    yield from service.after
    if isinstance(service, Celery) and service.broker is not None:
        yield service.broker


def _without(loaded: Loaded, gone: Collection[str]) -> Loaded:
    """The rest, with no env, command or verify step that only served what is gone."""
    stack = loaded.stack
    services = {name: each for name, each in stack.services.items() if name not in gone}
    commands = {name: each for name, each in stack.commands.items() if each.service not in gone}
    idle = _envs(stack, gone) - _envs(stack, services) - _other_envs(stack)
    is_routed = any(isinstance(each, Asgi) and each.routes for each in services.values())
    verify = stack.verify if is_routed or not gone else []
    kept = {"services": services, "commands": commands, "verify": verify}
    envs = {name: each for name, each in loaded.envs.items() if name not in idle}
    return replace(loaded, stack=stack.model_copy(update=kept), envs=envs)


def _envs(stack: Stack, names: Collection[str]) -> set[str]:
    return {each.env for name in names if isinstance(each := stack.services[name], CodeService)}


def _other_envs(stack: Stack) -> set[str]:
    steps = {env for pipeline in stack.pipelines.values() for _, env in pipeline.envs()}
    return steps | ({stack.database_schema.env} if stack.database_schema else set())


def _all_left_out(before: Loaded, after: Loaded, gone: dict[str, str]) -> Iterator[tuple[str, str]]:
    yield from gone.items()
    commands = before.stack.commands
    yield from (
        (f"command {name}", f"it needs {commands[name].service}") for name in _lost(commands, after.stack.commands)
    )
    yield from ((f"env {name}", "no service is left that uses it") for name in _lost(before.envs, after.envs))
    if before.stack.verify and not after.stack.verify:
        yield "verify", "no service is left that has routes"


def _lost(before: Collection[str], after: Collection[str]) -> list[str]:
    return [name for name in before if name not in after]


def _nothing_left(loaded: Loaded, rest: Stack, gone: dict[str, str]) -> Iterator[Problem]:
    """A stack of which nothing is left, or one that takes jobs and has nobody to do them."""
    first = next(iter(gone), None)
    if first is None:
        return
    key = ("services", first, "gpus", "without")
    if not rest.services:
        message = "`skip` leaves nothing of the stack on this host; take the stack off it (farrier_stacks)"
        yield loaded.document.problem(key, message)
        return
    takers = [name for name, each in rest.services.items() if isinstance(each, Asgi)]
    if takers and queues(loaded.stack) and not queues(rest):
        message = f"`skip` leaves nobody to do the jobs that {takers[0]} takes; write `without: cpu`, or let "
        message += f"{takers[0]} be left out too (`after: {{{first}: started}}`)"
        yield loaded.document.problem(key, message)
