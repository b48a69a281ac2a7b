"""What Ansible's inventory says of one host."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from farrier.document import Document, read
from farrier.problems import InvalidInput, Problem, nearest

_SUFFIXES = ("", ".yml", ".yaml")


def inventory_variables(root: Path, inventory: str, host: str) -> dict[str, Any]:
    """The host's variables as Ansible reads them. Raises InvalidInput for a host that the inventory does not know."""
    if not (root / inventory).exists():
        raise InvalidInput([Problem(inventory, 0, "", "there is no such inventory")])
    tool = Path(sys.executable).parent / "ansible-inventory"
    command = [str(tool), "-i", inventory, "--list"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=root)
    if done.returncode != 0:
        raise InvalidInput([Problem(inventory, 0, "", (done.stderr or done.stdout).strip())])
    groups = json.loads(done.stdout)
    variables: dict[str, Any] = groups.pop("_meta").get("hostvars", {})
    known = {name for group in groups.values() for name in group.get("hosts", ())}
    if host not in known:
        raise InvalidInput([Problem(inventory, 0, host, f"there is no such host: {nearest(host, sorted(known))}")])
    return dict(variables.get(host, {}))


def pointed(error: InvalidInput, inventory: Path, host: str, root: Path) -> InvalidInput:
    """The same problems; those of the host's variables with file and line, where one file holds the variable.

    Ansible gives values, and keeps to itself where they come from. `inventory`: the file or folder that it reads.
    """
    return InvalidInput(_pointed(problem, inventory, host, root) for problem in error.problems)


def _pointed(problem: Problem, inventory: Path, host: str, root: Path) -> Problem:
    if problem.file != f"inventory variables of {host}":
        return problem
    key = [int(index) if index else name for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", problem.key)]
    for places in (_of_host(inventory, host, root), _of_groups(inventory, root)):
        found = [place for place in places if _holds(place, key[:1])]
        if len(found) == 1:
            document, inside = found[0]
            return Problem(document.name, document.line([*inside, *key]), problem.key, problem.message)
        if found:
            return problem
    return problem


Place = tuple[Document, list[str | int]]  # and where in it the variables stand


def _of_host(inventory: Path, host: str, root: Path) -> Iterator[Place]:
    yield from _files(inventory, f"host_vars/{host}", root)
    if inventory.is_file():
        yield from (
            (document, inside) for document in _document(inventory, root) for inside in _inside(document.data, host)
        )


def _of_groups(inventory: Path, root: Path) -> Iterator[Place]:
    folder = inventory if inventory.is_dir() else inventory.parent
    for group in sorted({path.stem for path in (folder / "group_vars").glob("*")}):
        yield from _files(inventory, f"group_vars/{group}", root)


def _files(inventory: Path, name: str, root: Path) -> Iterator[Place]:
    folder = inventory if inventory.is_dir() else inventory.parent
    named = [folder / f"{name}{suffix}" for suffix in _SUFFIXES]
    for path in [*named, *sorted(named[0].glob("*"))]:
        if path.is_file():
            yield from ((document, []) for document in _document(path, root))


def _document(path: Path, root: Path) -> Iterator[Document]:
    """The file, if it is YAML: an encrypted one, or a program, tells no lines."""
    try:
        yield read(path, str(path.relative_to(root)) if path.is_relative_to(root) else str(path))
    except InvalidInput:
        return


def _inside(node: Any, host: str) -> Iterator[list[str | int]]:
    """Where in an inventory file the variables of the host stand."""
    if not isinstance(node, dict):
        return
    for key, below in node.items():
        if key == "hosts" and isinstance(below, dict) and isinstance(below.get(host), dict):
            yield [key, host]
        yield from ([key, *rest] for rest in _inside(below, host))


def _holds(place: Place, key: list[str | int]) -> bool:
    document, inside = place
    node = document.data
    for part in [*inside, *key]:
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True
