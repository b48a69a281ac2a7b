"""From a repository and a host's inventory variables to its plan: reads the files, then decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from farrier.host import from_variables
from farrier.load import load_stacks, runtime_files
from farrier.models import load_manifest
from farrier.plan.model import Plan
from farrier.plan.resolve import Inputs, make_plan
from farrier.problems import InvalidInput, Problem

Part = TypeVar("Part")


def plan_for(root: Path, name: str, variables: Mapping[str, Any]) -> Plan:
    """The plan of host `name`. Raises InvalidInput with every problem of its variables, stack files and models."""
    found = _Found()
    host = found.or_none(lambda: from_variables(name, variables))
    manifest = found.or_none(lambda: load_manifest(root / "stacks" / "models.yml"))
    wanted = host.stacks if host else [each for each in variables.get("farrier_stacks", []) if isinstance(each, str)]
    locks = root / host.locks if host and host.locks else None
    stacks = found.or_none(lambda: load_stacks(root, wanted, locks))
    if host is None or manifest is None or stacks is None:
        raise InvalidInput(found.problems)
    return make_plan(stacks, Inputs(host=host, manifest=manifest, runtime=runtime_files(root)))


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
