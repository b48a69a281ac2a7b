"""A program that follows the pipeline's contract and computes nothing: arguments, progress, result file, exit code.

A scan whose text is `STEP: something` makes that step do it: `oom`, `crash`, `dicom` or `say CODE`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

TORCH_OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 7 GiB in total"


def main(name: str, needs: str | None, makes: str) -> None:
    """Run the step: it needs a file of an earlier one, and makes one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--options", type=json.loads, default={})
    parser.add_argument("--config", type=Path)
    given = parser.parse_args()
    config = json.loads(given.config.read_text())
    print(f"[PROGRESS] 10% {name}: starting", flush=True)
    print(f"{name} writes what no one asked for", file=sys.stderr)
    _misbehave(name, given.work, Path(config["input"]))
    if needs and not (given.work / needs).is_file():
        sys.exit(f"{needs} is missing")
    result = _skipped(name, given.options) or _made(name, given.work, Path(config["output"]), makes)
    (given.work / "_step_result.json").write_text(json.dumps(result))
    print(f"[PROGRESS] 100% {name}: ready", flush=True)


def _misbehave(name: str, work: Path, scan: Path) -> None:
    told = scan.read_bytes()[:100].decode("latin-1").strip().partition(": ")
    if told[0] != name:
        return
    if told[2] == "oom":
        sys.exit(TORCH_OOM)
    if told[2] == "dicom":
        sys.exit(3)
    if told[2].startswith("say "):
        error = {"error_code": told[2].removeprefix("say "), "error_message": f"{name} cannot go on"}
        (work / "_step_result.json").write_text(json.dumps(error))
    sys.exit(1)


def _skipped(name: str, options: dict[str, Any]) -> dict[str, Any] | None:
    if name == "t2_mapping":
        return {"skipped": True, "reason": "one echo only"}
    if name in ("run_nsm", "compute_bscore") and not options.get("perform_nsm", True):
        return {"skipped": True, "reason": "not asked for"}
    return None


def _made(name: str, work: Path, output: Path, makes: str) -> dict[str, Any]:
    (work / makes).write_text(name)
    (output / makes).write_text(name)
    ran = {"env": sys.prefix, "libraries": os.environ.get("LD_LIBRARY_PATH", "")}
    return {"success": True, "outputs": [makes], "summary": {name: ran}}
