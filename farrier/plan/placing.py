"""The stacks' GPU services onto the host's cards: what each unit gets, or every problem, with who holds what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from farrier.kinds.base import PythonService
from farrier.load import Loaded
from farrier.plan.gpu_words import no_room, table, unsuited
from farrier.plan.gpus import Want, for_stacks, place
from farrier.plan.model import GpuCard, GpuShare
from farrier.plan.reduce import gpus_of
from farrier.problems import Problem

_INDENT = "\n      "


def place_stacks(
    stacks: Sequence[Loaded], cards: Sequence[GpuCard]
) -> tuple[Mapping[str, tuple[GpuShare, ...]], list[Problem]]:
    """Shares by stack, and the problems; `stacks` as the host runs them. No card for stacks: nothing to place."""
    if not for_stacks(cards):
        return {}, []
    problems = {(stack, service): each for stack, service, each in _unsuited(stacks, cards)}
    wants = [want for loaded in stacks for want in _wants(loaded) if want.owner not in problems]
    placement = place(cards, wants)
    by_name = {loaded.name: loaded for loaded in stacks}
    for owner in dict.fromkeys(want.owner for want in placement.refused):
        refused = [want for want in placement.refused if want.owner == owner]
        message = no_room([want.unit for want in refused], refused[0].gpus)
        problems[owner] = by_name[owner[0]].document.problem(("services", owner[1], "gpus"), message)
    units = {want.unit: want.stack for want in wants}
    shares = {name: tuple(each for each in placement.shares if units[each.unit] == name) for name in by_name}
    return shares, _with_table(sorted(problems.values()), cards, placement.shares)


def _wants(loaded: Loaded) -> Iterator[Want]:
    for name, service in loaded.stack.services.items():
        gpus = gpus_of(service)
        if gpus is not None and isinstance(service, PythonService):
            yield from (Want(loaded.name, name, unit, gpus) for unit in service.units(loaded.name, name))


def _unsuited(stacks: Sequence[Loaded], cards: Sequence[GpuCard]) -> Iterator[tuple[str, str, Problem]]:
    for loaded in stacks:
        for name, service in loaded.stack.services.items():
            gpus = gpus_of(service)
            wrong = unsuited(cards, gpus) if gpus else None
            if wrong:
                key, message = wrong
                yield loaded.name, name, loaded.document.problem(("services", name, "gpus", *key), message)


def _with_table(problems: list[Problem], cards: Sequence[GpuCard], shares: Sequence[GpuShare]) -> list[Problem]:
    """The table once, under the last of them."""
    if not problems:
        return []
    held = _INDENT + table(cards, shares).replace("\n", _INDENT)
    return [*problems[:-1], replace(problems[-1], message=problems[-1].message + held)]
