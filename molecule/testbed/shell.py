"""Run programs of this machine, tell progress, and fail with a message that helps."""

from __future__ import annotations

import fcntl
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.settings import LOCKS


class DriverError(Exception):
    """Something on this machine kept the driver from its work; the text says what, where and what to do."""


def say(text: str) -> None:
    """Tell progress on standard error, so that standard output stays for results."""
    print(text, file=sys.stderr, flush=True)


def run(*argv: str, stdin: str | None = None) -> str:
    """Run a program and return its standard output; DriverError with its standard error when it fails."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise DriverError(f"{argv[0]} is not installed: run `make .venv`, which installs it") from error
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip()
        raise DriverError(f"{shlex.join(argv)}: exit code {done.returncode}: {said}")
    return done.stdout


def attempt(*argv: str) -> bool:
    """Run a program whose failure is an answer; True when it exits with 0."""
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


@contextmanager
def lock(name: str, waiting: str = "") -> Iterator[None]:
    """Hold the lock of that name against other driver processes; print `waiting` when another one holds it."""
    with lock_file(name).open("w") as handle:
        if waiting and not _take(handle.fileno()):
            say(waiting)
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def lock_if_free(name: str) -> Iterator[bool]:
    """Take the lock of that name if no other process holds it; yields whether it was taken."""
    with lock_file(name).open("w") as handle:
        yield _take(handle.fileno())


def lock_file(name: str) -> Path:
    """Path of the file that stands for a lock; its folder exists afterwards."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    return LOCKS / name


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
