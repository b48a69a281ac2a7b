"""launch.py PARENT [NAME=VALUE…] -- PROGRAM ARGUMENT…: run PROGRAM, and leave none of its descendants behind.

It gives the exit code of PROGRAM, or ends by the signal that ended it. On SIGTERM, and when the process PARENT that
started it dies, everything below it is killed: it is the reaper of its descendants, so also one that left the process
group comes back to it. The variables are PROGRAM's alone: an `LD_LIBRARY_PATH` for another env would break this Python.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_OOM_SCORE = "500"  # where memory runs out the kernel takes a step, and never the worker
_CANNOT_RUN = 127  # as a shell says it
_LOOK_AGAIN = 0.1  # seconds, for a child that was born while the others were killed


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value)


def _become(parent: int, command: list[str], environment: dict[str, str]) -> None:
    """In the child: turn into the program. Should this launcher itself be killed, the kernel kills the program."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(_CANNOT_RUN)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        os.execve(command[0], command, environment)
    except OSError as error:
        print(f"{command[0]} cannot be run: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(_CANNOT_RUN)


def _children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()]


def _reap(program: int) -> tuple[int | None, bool]:
    """Take leave of all that ended: the program's wait status if it is among them, and whether any child is left."""
    found = None
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return found, True
            if pid == program:
                found = status
    return found, False


def _kill_all(program: int) -> int | None:
    """Kill every descendant; those of a killed one come here, and are the next. Gives the program's wait status."""
    found, some_left = _reap(program)
    while some_left:
        for pid in _children():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        signal.sigtimedwait({signal.SIGCHLD}, _LOOK_AGAIN)
        status, some_left = _reap(program)
        found = status if found is None else found
    return found


def _wait(program: int) -> int:
    """The program's wait status, once it has ended or was ended by SIGTERM, and nothing of it is left."""
    while True:
        if signal.sigwait({signal.SIGCHLD, signal.SIGTERM}) == signal.SIGTERM:
            return _kill_all(program) or signal.SIGKILL
        status, _ = _reap(program)
        if status is not None:
            _kill_all(program)
            return status


def _end_like(status: int) -> None:
    """End as the program ended."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the program has left its own
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)


def main() -> None:
    """Run the program of the command line."""
    parent, split = int(sys.argv[1]), sys.argv.index("--")
    given = dict(pair.split("=", 1) for pair in sys.argv[2:split])
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for number in (signal.SIGCHLD, signal.SIGTERM):  # one that was ignored by who started us would never come
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(_CANNOT_RUN)
    me = os.getpid()
    program = os.fork()
    if program == 0:
        _become(me, sys.argv[split + 1 :], os.environ | given)
    _end_like(_wait(program))


if __name__ == "__main__":
    main()
