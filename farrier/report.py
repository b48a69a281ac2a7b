"""The plan for people, on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.table import Table

from farrier.plan.gpu_words import HEADINGS, rows
from farrier.plan.model import Plan, StackPlan
from farrier.values import human_size


def show_plan(plan: Plan) -> None:
    """Print the plan: what runs, where it is reached, what it needs."""
    console = Console(highlight=False)
    console.print(f"[bold]{plan.host.name}[/bold]: {_count(plan)}, {human_size(plan.memory)} of memory")
    for stack in plan.stacks:
        console.print(f"\n[bold]{stack.name}[/bold]: {stack.description}")
        console.print(_units(stack))
        for route in stack.routes:
            console.print(f"  https://{route.host}{route.path} → {route.service}")
    for line in _gpus(plan):
        console.print(line)
    console.print(f"\nenvs: {', '.join(env.id for env in plan.envs) or 'none'}")
    console.print(f"models: {', '.join(f'{model.id}@{model.version}' for model in plan.models) or 'none'}")
    console.print(f"packages: {', '.join(plan.packages)}")
    console.print(
        "\n[dim]Not asked: the host itself. Its ports, disk, memory and users are checked when the play begins.[/dim]"
    )


def _gpus(plan: Plan) -> Iterator[Table | str]:
    """Who holds what of the host's cards, and what goes without."""
    if plan.gpus:
        table = _table(HEADINGS)
        for row in rows(plan.gpus, [share for stack in plan.stacks for share in stack.gpus]):
            table.add_row(*row)
        yield ""
        yield table
    for stack in plan.stacks:
        for service in stack.on_cpu:
            yield f"\n{stack.name} {service}: runs without a GPU; this host has none for stacks"
        if stack.left_out:
            yield f"\n{stack.name}: left out on this host:"
            yield from (f"  {left.what}: {left.why}" for left in stack.left_out)


def _table(columns: Iterable[str]) -> Table:
    table = Table(box=None, pad_edge=True, header_style="dim")
    for column in columns:
        table.add_column(column)
    return table


def _count(plan: Plan) -> str:
    return "1 stack" if len(plan.stacks) == 1 else f"{len(plan.stacks)} stacks"


def _units(stack: StackPlan) -> Table:
    table = _table(("unit", "kind", "memory limit", "waits for"))
    for unit in stack.units:
        memory = unit.context.get("memory") if unit.file.endswith(".service") else None
        kind = unit.template.split(".")[0].rstrip("@")
        for name in unit.starts:
            table.add_row(name, kind, human_size(memory) if memory else "", ", ".join(unit.context["after"]))
    return table
