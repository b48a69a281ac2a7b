"""Runs the probe out of standard input: its modules come as text, so that nothing is installed on the host for it.

The controller sends this file and, after it, one line that calls `run`.
"""

from __future__ import annotations

import json
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class Texts:
    """Imports modules from their source texts, by full name."""

    def __init__(self, sources: dict[str, str]) -> None:
        self.sources = sources

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        """The import system's question whether this is one of ours."""
        del path, target
        if name not in self.sources:
            return None
        is_package = any(other.startswith(f"{name}.") for other in self.sources)
        return ModuleSpec(name, self, is_package=is_package)  # type: ignore[arg-type]  # no `load_module`, which is old

    def create_module(self, spec: ModuleSpec) -> None:
        """Python's own way of making a module is right."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's text."""
        exec(compile(self.sources[module.__name__], module.__name__, "exec"), module.__dict__)


def run(payload: str) -> None:
    """Look at the host, and print what was found. `payload` is JSON: `sources` by module name, and the `request`."""
    given: dict[str, Any] = json.loads(payload)
    sys.meta_path.insert(0, Texts(given["sources"]))
    from farrier_probe.look import look  # noqa: PLC0415 - it is among the sources

    print(json.dumps(look(given["request"])))
