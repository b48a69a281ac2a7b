"""From a repository and a host's inventory variables to its plan: reads the files, then decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from farrier.channel import UNSTABLE, Tree, tree_of
from farrier.host import from_variables
from farrier.load import load_stacks, runtime_files
from farrier.models import load_manifest
from farrier.plan.model import Plan
from farrier.plan.resolve import Inputs, make_plan
from farrier.problems import InvalidInput, Problem

Part = TypeVar("Part")


@dataclass(frozen=True)
class Planned:
    """A host's plan, and the tree that its stack files were read from."""

    plan: Plan
    tree: Tree
    channel: str


def plan_for(root: Path, name: str, variables: Mapping[str, Any]) -> Plan:
    """The plan of host `name`. Raises InvalidInput with every problem of its variables, stack files and models."""
    return planned(root, name, variables).plan


def planned(root: Path, name: str, variables: Mapping[str, Any]) -> Planned:
    """The plan with where it comes from: the tree of the host's channel. Raises InvalidInput like plan_for."""
    found = _Found()
    host = found.or_none(lambda: from_variables(name, variables))
    channel = host.channel if host else UNSTABLE
    tree = found.or_none(lambda: tree_of(root, channel, f"inventory variables of {name}"))
    if tree is None:
        raise InvalidInput(found.problems)
    try:
        manifest = found.or_none(lambda: load_manifest(tree.root / "stacks" / "models.yml"))
        wanted = (
            host.stacks if host else [each for each in variables.get("farrier_stacks", []) if isinstance(each, str)]
        )
        locks = root / host.locks if host and host.locks else None
        stacks = found.or_none(lambda: load_stacks(tree.root, wanted, locks))
        if host is None or manifest is None or stacks is None:
            raise InvalidInput(found.problems)
        plan = make_plan(stacks, Inputs(host=host, manifest=manifest, runtime=runtime_files(root)))
    except InvalidInput as error:
        raise InvalidInput(_of_tree(problem, tree) for problem in error.problems) from None
    return Planned(plan, tree, channel)


def _of_tree(problem: Problem, tree: Tree) -> Problem:
    """A problem with a file of another commit is named as git names such a file."""
    is_elsewhere = tree.commit is not None and problem.file.startswith("stacks/")
    return replace(problem, file=f"{tree.version}:{problem.file}") if is_elsewhere else problem


class _Found:
    """Collects the problems of parts that can be read one without the other."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def or_none(self, read: Callable[[], Part]) -> Part | None:
        try:
            return read()
        except InvalidInput as error:
            self.problems += error.problems
            return None
