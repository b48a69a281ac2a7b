"""Bring one env to its prefix: look, build what is absent or damaged, and leave nothing half done."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from farrier_env import check, conda, pip
from farrier_env.request import Env, EnvError, Outcome, Request, State

Progress = Callable[[str], None]

MIB = 2**20


def ensure(env: Env, request: Request, progress: Progress) -> Outcome:
    """The env as asked for, and what became of it. Raises EnvError, and then the prefix is as it was before."""
    started = time.monotonic()
    env.prefix.parent.mkdir(parents=True, exist_ok=True)
    with _locked(env.prefix.parent, progress):
        state, problems = _ensure(env, request, progress)
    seconds = round(time.monotonic() - started, 3)
    return Outcome(env.name, env.id, str(env.prefix), state, tuple(problems), seconds)


def inspect(env: Env, request: Request) -> Outcome:
    """What is there; nothing is touched, not even a lock file."""
    found = check.damages(env.prefix, request.depth)
    state: State = "absent" if found is None else "damaged" if found else "present"
    return Outcome(env.name, env.id, str(env.prefix), state, tuple(found or ()))


def _ensure(env: Env, request: Request, progress: Progress) -> tuple[State, list[str]]:
    _recover(env.prefix)
    found = check.damages(env.prefix, request.depth)
    if found == []:
        os.utime(env.prefix)  # `farrier-release collect` spares what a deploy has just asked for
        return "present", []
    if found:
        progress(f"{env.id}: damaged, building it again: {check.summary(found)}")
    else:
        progress(f"{env.id}: building")
    with _replacing(env.prefix), _disk_full_explained(env):
        _build(env, request, progress)
    return ("repaired", found) if found else ("built", [])


def _build(env: Env, request: Request, progress: Progress) -> None:
    records = conda.read_lock(env)
    conda.refuse_unfit_host(env, records)
    _refuse_without_room(env, conda.room_needed(env, records))
    _fill(env, records, request, progress)
    problems = check.file_damages(env.prefix, "full")
    if problems:
        # uv links from its cache unseen, and a damaged prefix damages the cache with it: start from nothing once.
        progress(f"{env.id}: the package cache is damaged, fetching the Python packages again")
        shutil.rmtree(request.cache / "uv", ignore_errors=True)
        shutil.rmtree(env.prefix)
        _fill(env, records, request, progress)
        problems = check.file_damages(env.prefix, "full")
    if problems:
        raise EnvError(f"env {env.id}: the files are not what their packages say: {check.summary(problems)}")
    _mark(env)


def _fill(env: Env, records: conda.Records, request: Request, progress: Progress) -> None:
    steps: list[tuple[str, Callable[[], None]]] = [
        ("conda packages", lambda: conda.install_packages(env, records, request.cache / "conda", request.mirrors)),
        ("Python packages", lambda: pip.install_requirements(env, request.cache / "uv")),
        ("compiling", lambda: pip.compile_files(env)),
    ]
    for name, step in steps:
        started = time.monotonic()
        step()
        progress(f"{env.id}: {name} {time.monotonic() - started:.1f} s")


def _mark(env: Env) -> None:
    """Say that the env is whole; after a power cut this must not be there without the files."""
    os.sync()
    marker = env.prefix / check.MARKER
    marker.write_text(json.dumps({"id": env.id, "records": check.record_hashes(env.prefix)}, indent=1) + "\n")


def _recover(prefix: Path) -> None:
    """Finish what a crash in the middle of a repair left: the new env when it is whole, else the old one."""
    aside = check.aside(prefix)
    if not aside.exists():
        return
    if (prefix / check.MARKER).exists():
        shutil.rmtree(aside)
    else:
        shutil.rmtree(prefix, ignore_errors=True)
        aside.rename(prefix)


@contextmanager
def _replacing(prefix: Path) -> Iterator[None]:
    """A clear prefix; what it held comes back if the block fails, unless that was incomplete itself.

    Paths are written into the files of an env, so it can only be built in its place, and the old one steps aside.
    """
    aside = check.aside(prefix)
    if (prefix / check.MARKER).exists():
        prefix.rename(aside)
    elif prefix.exists():
        shutil.rmtree(prefix)
    try:
        yield
    except BaseException:
        shutil.rmtree(prefix, ignore_errors=True)
        if aside.exists():
            aside.rename(prefix)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _refuse_without_room(env: Env, needed: int) -> None:
    free = shutil.disk_usage(env.prefix.parent).free
    if free < needed:
        raise EnvError(
            f"env {env.id} needs {needed // MIB} MiB in {env.prefix.parent}, {free // MIB} MiB are free: "
            "remove something from this disk, or enlarge it, and deploy again"
        )


@contextmanager
def _disk_full_explained(env: Env) -> Iterator[None]:
    """Tell a full disk in plain words, whichever tool met it."""
    try:
        yield
    except (EnvError, OSError) as error:
        code = error.errno if isinstance(error, OSError) else None
        full = code == errno.ENOSPC or "No space left" in str(error) or "os error 28" in str(error)
        if full:
            raise EnvError(
                f"env {env.id}: the disk of {env.prefix.parent} became full while it was built. What had been built of "
                "it is removed again: remove something from this disk, or enlarge it, and deploy again"
            ) from None
        if isinstance(error, OSError):
            raise EnvError(f"env {env.id}: {error}") from error
        raise


@contextmanager
def _locked(folder: Path, progress: Progress) -> Iterator[None]:
    """One installer at a time in a folder of prefixes."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another installer in {folder}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
