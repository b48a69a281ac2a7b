"""How long a watcher of graphics cards takes to tell that the driver hangs; the promise is 5 s."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tests.gpu.world import T4, World, environment, put
from tests.harness import Figure

_WATCH = (sys.executable, "-c", "from farrier_host.gpu.cli import main; main(['watch'])")
_PROMISE = 5.0  # seconds
_RUNS = 10


def gpus() -> Iterator[Figure]:
    """From the moment at which the library begins to hang until the state says so; ten times."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "run").mkdir()
        (folder / "gpus.json").write_text(json.dumps([{"index": 0, "pci": T4.pci}]))
        places = {"FARRIER_GPU_RUN": folder / "run", "FARRIER_GPU_DECLARED": folder / "gpus.json"}
        put(folder, World((T4,)))
        variables = environment(folder) | {key: str(path) for key, path in places.items()}
        with subprocess.Popen(_WATCH, env=variables, start_new_session=True) as watcher:
            try:
                slowest = max(_told(folder) for _ in range(_RUNS))
            finally:
                os.killpg(watcher.pid, signal.SIGKILL)  # with a child that hangs
    yield Figure("gpus: a hanging driver is told within", slowest, "s")
    yield Figure("gpus: that : what was promised", slowest / _PROMISE, "ratio")


def _told(folder: Path) -> float:
    put(folder, World((T4,)))
    _until(folder, lambda problem: problem is None)
    put(folder, replace(World((T4,)), hang=True))
    began = time.monotonic()
    _until(folder, lambda problem: problem is not None)
    return time.monotonic() - began


def _until(folder: Path, is_so: Callable[[str | None], bool]) -> None:
    state = folder / "run" / "state.json"
    while not state.exists() or not is_so(json.loads(state.read_text())["driver"]["problem"]):
        time.sleep(0.01)


RUN = [gpus]
