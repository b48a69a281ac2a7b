"""The contract between the site and a step: arguments in; progress lines, a result file and an exit code out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULT = "_step_result.json"


class StepFailed(Exception):
    """The step cannot do its work; `code` is one of the site's error codes, the text is for the user."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Call:
    """What a step was asked to do."""

    work: Path
    options: dict[str, Any]
    config: dict[str, Any]

    @property
    def input(self) -> Path:
        """The user's scan."""
        if "input" in self.config:
            return Path(self.config["input"])
        found = sorted(self.work.glob("input.*"))
        if not found:
            raise StepFailed("FILE_NOT_FOUND", f"There is no scan (input.*) in {self.work}.")
        return found[0]

    @property
    def output(self) -> Path:
        """The folder whose files the user gets."""
        folder = Path(self.config.get("output", self.work / "results"))
        folder.mkdir(exist_ok=True)
        return folder

    def file(self, name: str, *, after: str) -> Path:
        """A file of an earlier step in the work folder; raises StepFailed where that step did not run."""
        if not (self.work / name).is_file():
            raise StepFailed("FILE_NOT_FOUND", f"There is no {name} in the work folder; the step {after} runs first.")
        return self.work / name

    def model(self, name: str) -> Path:
        """The folder of a model; raises StepFailed where the site has not named it."""
        try:
            return Path(self.config["models"][name])
        except KeyError:
            raise StepFailed("CONFIG_ERROR", f"The configuration names no folder for the model {name}.") from None


def progress(percent: float, text: str) -> None:
    """Tell how far the step is."""
    print(f"[PROGRESS] {percent:.0f}% {text}", flush=True)


def _arguments() -> Call:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path, metavar="WORKDIR")
    parser.add_argument("--options", type=json.loads, default={}, metavar="JSON")
    parser.add_argument("--config", type=Path, metavar="PATH")
    given = parser.parse_args()
    config = json.loads(given.config.read_text(encoding="utf-8")) if given.config else {}
    return Call(given.work, given.options, config)


def run(step: Callable[[Call], dict[str, Any]]) -> None:
    """Run a step that gives its result; ends the process with 0, or with 1 and the reason in the result file."""
    call = _arguments()
    try:
        result, code = step(call), 0
    except StepFailed as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        result, code = {"error_code": error.code, "error_message": str(error)}, 1
    (call.work / RESULT).write_text(json.dumps(result), encoding="utf-8")
    sys.exit(code)
