"""From a repository and a host's inventory variables to its plan: reads the files, then decides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farrier.host import from_variables
from farrier.load import load_stacks, runtime_files
from farrier.models import load_manifest
from farrier.plan.model import Plan
from farrier.plan.resolve import Inputs, make_plan


def plan_for(root: Path, name: str, variables: Mapping[str, Any]) -> Plan:
    """The plan of host `name`. Raises InvalidInput with every problem of its variables or of its stacks' files."""
    host = from_variables(name, variables)
    locks = root / host.locks if host.locks else None
    stacks = load_stacks(root, host.stacks, locks)
    manifest = load_manifest(root / "stacks" / "models.yml")
    return make_plan(stacks, Inputs(host=host, manifest=manifest, runtime=runtime_files(root)))
