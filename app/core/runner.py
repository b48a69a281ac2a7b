"""Runs one step of a pipeline as a process group of its own, by the contract that scientific programs follow.

`python -m steps.<name> WORKDIR --options JSON --config PATH` writes `[PROGRESS] 40% text` lines to stdout and its
result to `WORKDIR/_step_result.json`.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from app.core.joblog import LONGEST_LINE, JobLog
from app.core.step import (
    CONFIG,
    RESULT,
    Ending,
    StepCall,
    StepError,
    command,
    environment,
    judge,
    memory_kills,
    parse_progress,
    read_result,
)

KEPT_LINES = 200  # in which a reason for the step's end is looked for
LOOK_EVERY = 0.25  # seconds between two looks at the deadline and at `stop`
GONE = 3.0  # seconds in which the launcher kills all that the step has started
LAST_LINES = 5.0  # seconds for what a killed step still had to say


class StepStopped(Exception):
    """The step was killed because `stop` said so."""


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
    """A running step: its launcher, its pipes, its log and its end."""

    def __init__(self, call: StepCall, log: JobLog, on_progress: Callable[[float, str], None]) -> None:
        self._on_progress = on_progress
        self._log = log
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self.errors: deque[str] = deque(maxlen=KEPT_LINES)
        self._popen = subprocess.Popen(
            command(call, os.getpid()),
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

    def _on_stdout(self, line: str) -> None:
        self._log.write(line)
        self.lines.append(line)
        told = parse_progress(line)
        if told:
            self._on_progress(*told)

    def _on_stderr(self, line: str) -> None:
        self._log.write(line)
        self.lines.append(line)
        self.errors.append(line)

    def look(self, seconds: float) -> bool:
        """Handle what arrives within `seconds`; True once the step has ended."""
        ended = False
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                ended = True
            elif not key.data.read():
                self._selector.unregister(key.fileobj)
        return ended

    def end(self) -> int:
        """Kill what is left of the step, read the last lines, and give the exit code (negative: a signal)."""
        # Not reaped yet, so neither the process' number nor its group's can have gone to another one.
        signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)
        deadline = time.monotonic() + GONE
        while time.monotonic() < deadline and not self.look(LOOK_EVERY):
            pass
        os.killpg(self._popen.pid, signal.SIGKILL)
        code = self._popen.wait()
        self._selector.unregister(self._pidfd)
        # Somebody outside of the step may hold the pipes open, and go on printing, for ever.
        deadline = time.monotonic() + LAST_LINES
        while self._selector.get_map() and self._selector.select(0.5) and time.monotonic() < deadline:
            self.look(0)
        return code

    def close(self) -> None:
        """Give back descriptors."""
        self._selector.close()
        os.close(self._pidfd)
        for pipe in (self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                pipe.close()


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
    joblog = JobLog(log)
    try:
        return _run(call, joblog, on_progress, stop)
    except (StepError, StepStopped) as error:
        joblog.mark(f"step {call.name}: {error or 'stopped'}".replace("\n", " | "))
        raise
    finally:
        joblog.close()


def _run(
    call: StepCall, log: JobLog, on_progress: Callable[[float, str], None], stop: Callable[[], bool]
) -> dict[str, Any]:
    log.mark(f"step {call.name}: {' '.join(command(call, os.getpid()))}")
    began, kills = time.monotonic(), memory_kills()
    try:
        process = _Process(call, log, on_progress)
    except OSError as error:
        raise StepError("CONFIG_ERROR", f"Step {call.name} could not be started: {error}") from error
    try:
        code = _wait(process, call, stop)
    finally:
        process.close()
    log.mark(f"step {call.name}: exit code {code} after {time.monotonic() - began:.1f} s")
    return judge(call, Ending(code, process.lines, process.errors, memory_kills() - kills), read_result(call))


def _wait(process: _Process, call: StepCall, stop: Callable[[], bool]) -> int:
    deadline = time.monotonic() + call.timeout
    try:
        while not process.look(LOOK_EVERY):
            if stop():
                raise StepStopped
            if time.monotonic() > deadline:
                late = call.late or f"Step {call.name} did not end within {call.timeout:g} s and was stopped."
                raise StepError("TIMEOUT", late)
    finally:
        code = process.end()
    return code
