"""Runs one step of a pipeline as a process group of its own, by the contract that scientific programs follow.

`python -m steps.<name> WORKDIR --options JSON --config PATH` writes `[PROGRESS] 40% text` lines to stdout and its
result to `WORKDIR/_step_result.json`.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

RESULT = "_step_result.json"
CONFIG = "_config.json"
PROGRESS = re.compile(r"\[PROGRESS\]\s+(\d{1,3}(?:\.\d+)?)%\s*(.*)")
TAIL_LINES = 12  # of stderr, told with an error
LONGEST_LINE = 4000
LOOK_EVERY = 0.25  # seconds between two looks at the deadline and at `stop`
LAST_LINES = 5.0  # seconds for what a killed step still had to say
LAUNCH = Path(__file__).with_name("launch.py")


class StepError(Exception):
    """A step failed; `code` is one of the site's error codes."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class StepStopped(Exception):
    """The step was killed because `stop` said so."""


@dataclass(frozen=True, slots=True)
class StepCall:
    """One step to run: in which env and code, over which work folder, with what."""

    name: str
    python: Path
    code: Path
    work: Path
    timeout: float
    options: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)


def environment(call: StepCall, inherited: Mapping[str, str]) -> dict[str, str]:
    """The step's whole environment: none of the worker's variables. It is no wall: a step runs as the same user."""
    kept = {name: inherited[name] for name in ("CUDA_VISIBLE_DEVICES", "TZ") if name in inherited}
    return kept | {
        "PATH": f"{call.python.parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(call.work),
        "TMPDIR": str(call.work / "tmp"),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
    }


def command(call: StepCall) -> list[str]:
    """The step's command line."""
    return [
        *(sys.executable, "-I", str(LAUNCH)),
        *(str(call.python), "-m", f"steps.{call.name}", str(call.work)),
        *("--options", json.dumps(dict(call.options))),
        *("--config", str(call.work / CONFIG)),
    ]


def parse_progress(line: str) -> tuple[float, str] | None:
    """Percent and text of a progress line, or None for any other line."""
    match = PROGRESS.match(line.strip())
    return (min(100.0, float(match[1])), match[2].strip()) if match else None


class _Lines:
    """One pipe of the step, split into lines."""

    def __init__(self, pipe: IO[bytes], use: Callable[[str], None]) -> None:
        self.pipe = pipe
        self._use = use
        self._rest = b""
        os.set_blocking(pipe.fileno(), False)

    def read(self) -> bool:
        """Use the lines that are there; False once the pipe has ended."""
        try:
            data = self.pipe.read(65536)
        except BlockingIOError:
            return True
        if data is None:
            return True
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE or (not data and self._rest):
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._use(line.decode("utf-8", "replace").rstrip("\r")[:LONGEST_LINE])
        return bool(data)


class _Process:
    """A running step: its pipes, its log and its end."""

    def __init__(self, call: StepCall, log: Path, on_progress: Callable[[float, str], None]) -> None:
        self._on_progress = on_progress
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._log = log.open("a", encoding="utf-8")
        self._write(f"--- {call.name}")
        self._popen = subprocess.Popen(
            command(call),
            cwd=call.code,
            env=environment(call, os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._pidfd = os.pidfd_open(self._popen.pid)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._pidfd, selectors.EVENT_READ)
        for pipe, use in ((self._popen.stdout, self._on_stdout), (self._popen.stderr, self._on_stderr)):
            if pipe is not None:
                self._selector.register(pipe, selectors.EVENT_READ, _Lines(pipe, use))

    def _write(self, line: str) -> None:
        self._log.write(line + "\n")
        self._log.flush()

    def _on_stdout(self, line: str) -> None:
        self._write(line)
        told = parse_progress(line)
        if told:
            self._on_progress(*told)

    def _on_stderr(self, line: str) -> None:
        self._write(line)
        if line.strip():
            self.tail.append(line)

    def look(self, seconds: float) -> bool:
        """Handle what arrives within `seconds`; True once the step's own process has ended."""
        ended = False
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                ended = True
            elif not key.data.read():
                self._selector.unregister(key.fileobj)
        return ended

    def end(self) -> int:
        """Kill what is left of the process group, read the last lines, and give the exit code (negative: a signal)."""
        # The step is not reaped yet, so its number cannot have gone to another process group.
        os.killpg(self._popen.pid, signal.SIGKILL)
        code = self._popen.wait()
        self._selector.unregister(self._pidfd)
        # A child that left the process group may hold the pipes open, and go on printing, for ever.
        deadline = time.monotonic() + LAST_LINES
        while self._selector.get_map() and self._selector.select(0.5) and time.monotonic() < deadline:
            self.look(0)
        return code

    def close(self) -> None:
        """Give back files and pipes."""
        self._selector.close()
        os.close(self._pidfd)
        for pipe in (self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                pipe.close()
        self._log.close()


def run_step(
    call: StepCall,
    *,
    log: Path,
    on_progress: Callable[[float, str], None],
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Run the step to its end and give its result JSON; raises StepError, or StepStopped once `stop()` is true."""
    (call.work / "tmp").mkdir(exist_ok=True)
    (call.work / RESULT).unlink(missing_ok=True)
    (call.work / CONFIG).write_text(json.dumps(dict(call.config)), encoding="utf-8")
    try:
        process = _Process(call, log, on_progress)
    except OSError as error:
        raise StepError("CONFIG_ERROR", f"Step {call.name} could not be started: {error}") from error
    try:
        code = _wait(process, call, stop)
    finally:
        process.close()
    return _judge(call, code, process.tail)


def _wait(process: _Process, call: StepCall, stop: Callable[[], bool]) -> int:
    deadline = time.monotonic() + call.timeout
    try:
        while not process.look(LOOK_EVERY):
            if stop():
                raise StepStopped
            if time.monotonic() > deadline:
                raise StepError("TIMEOUT", f"Step {call.name} did not end within {call.timeout:g} s and was stopped.")
    finally:
        code = process.end()
    return code


def _judge(call: StepCall, code: int, tail: deque[str]) -> dict[str, Any]:
    """The result of a step that ended by itself, or the StepError that says why there is none."""
    try:
        result = json.loads((call.work / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        result = None
    if code == 0 and isinstance(result, dict):
        return result
    told = result if isinstance(result, dict) else {}
    if "error_message" in told:
        raise StepError(str(told.get("error_code", "PIPELINE_ERROR")), str(told["error_message"]))
    raise StepError("PIPELINE_ERROR", _why(call, code, tail))


def _why(call: StepCall, code: int, tail: deque[str]) -> str:
    if code == 0:
        return f"Step {call.name} ended well but wrote no {RESULT}."
    if code == -signal.SIGKILL:
        return f"Step {call.name} was killed from outside, most likely because memory ran out."
    how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return "\n".join([f"Step {call.name} ended {how}.", *tail])
