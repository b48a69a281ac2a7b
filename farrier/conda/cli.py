"""`farrier lock`: make the conda lock of one env, or of all."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from farrier.conda.convert import Converted, lock_export
from farrier.conda.lock import LockError, lock_environment
from farrier.problems import InvalidInput, nearest

REPOSITORY = Path(__file__).resolve().parents[2]


def lock(  # noqa: PLR0913, PLR0917 - each is an option of the command
    envs: Annotated[list[str] | None, typer.Argument(help="<stack>/<env>, such as demo/web", metavar="ENV...")] = None,
    every: Annotated[bool, typer.Option("--all", help="every env of every stack")] = False,
    channel: Annotated[str | None, typer.Option(help="channel URL instead of the spec's channels")] = None,
    mirror: Annotated[list[str] | None, typer.Option(help="where a channel is really fetched from: URL=URL")] = None,
    out: Annotated[Path | None, typer.Option(help="write the lock of a single env here")] = None,
    locks: Annotated[Path | None, typer.Option(help="write to DIR/<stack>/envs/<env>.lock", metavar="DIR")] = None,
    glibc: Annotated[str, typer.Option(help="oldest glibc of the hosts (Debian 12: 2.36)")] = "2.36",
    cuda: Annotated[str | None, typer.Option(help="CUDA version that the hosts' driver offers, such as 12.4")] = None,
    export: Annotated[
        Path | None, typer.Option("--from", help="make spec and locks of one env out of this `conda env export`")
    ] = None,
    index: Annotated[
        list[str] | None, typer.Option(help="Python package index for --from, the first first; else the public one")
    ] = None,
) -> None:
    """Make conda locks from specs: stacks/<stack>/envs/<env>.yml becomes <env>.lock beside it.

    With --from FILE the output of `conda env export` becomes spec and lock, and its `pip:` part <env>.in and the
    hashed <env>.txt. A build that the channels no longer have is locked by its version, and said. Entries that cannot
    be locked (unknown packages and versions, other platforms, paths, editable installs, repositories) are told all at
    once, each with its line and what to write instead; then nothing is written. No GPU is needed here: --cuda says
    what the hosts have.
    """
    mirrors = mirror or []
    try:
        if export:
            name, spec = exported_spec(REPOSITORY, envs or [])
            target = out or lock_path(name, spec, locks)
            pairs = dict(parse_mirror(pair) for pair in mirrors)
            made = lock_export(
                export, spec, target, channel=channel, mirrors=pairs, glibc=glibc, cuda=cuda, indexes=index or []
            )
            _tell(name, made)
            _leave(0)
        chosen = choose(find_specs(REPOSITORY), envs or [], every=every)
        if out and len(chosen) != 1:
            raise LockError("--out takes one env: use --locks for several")
        pairs = dict(parse_mirror(pair) for pair in mirrors)
        for name, spec in chosen.items():
            target = out or lock_path(name, spec, locks)
            done = lock_environment(spec, target, channel=channel, mirrors=pairs, glibc=glibc, cuda=cuda)
            state = "written" if done.changed else "up to date"
            print(f"{name}: {len(done.packages)} packages, {_shown(target)} {state}", flush=True)
    except (LockError, InvalidInput) as error:
        print(error, file=sys.stderr)
        _leave(1)
    _leave(0)


def find_specs(root: Path) -> dict[str, Path]:
    """Every env that has a spec, by `<stack>/<env>`."""
    specs = sorted((root / "stacks").glob("*/envs/*.yml"))
    return {f"{spec.parent.parent.name}/{spec.stem}": spec for spec in specs}


def choose(specs: dict[str, Path], names: list[str], *, every: bool) -> dict[str, Path]:
    """The specs that the command line asks for. Raises LockError for an unknown name or none at all."""
    if every:
        return specs
    if not names:
        raise LockError(f"which env? Name some of {', '.join(specs)}, or say --all")
    for name in names:
        if name not in specs:
            raise LockError(f"there is no env '{name}': {nearest(name, list(specs))}")
    return {name: specs[name] for name in names}


def exported_spec(root: Path, names: list[str]) -> tuple[str, Path]:
    """The one env that an export is for, and where its spec goes; it may be new. Raises LockError."""
    if len(names) != 1:
        raise LockError("--from is for one env: name it, such as `farrier lock demo/web --from environment.yml`")
    stack, _, env = names[0].partition("/")
    stacks = sorted(path.parent.name for path in (root / "stacks").glob("*/stack.yml"))
    if stack not in stacks:
        raise LockError(f"there is no stack '{stack}': {nearest(stack, stacks)}")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", env):
        raise LockError(f"'{names[0]}' is no env: write <stack>/<env>, such as {stack}/pipeline")
    return names[0], root / "stacks" / stack / "envs" / f"{env}.yml"


def _tell(name: str, made: Converted) -> None:
    for note in made.notes:
        print(f"note: {note}")
    python = f" and {made.python_packages} Python packages" if made.python_packages else ""
    written = ", ".join(str(_shown(file)) for file in made.changed)
    print(
        f"{name}: {len(made.packages)} packages{python}, {f'{written} written' if written else 'up to date'}",
        flush=True,
    )


def lock_path(name: str, spec: Path, locks: Path | None) -> Path:
    """Where the lock of the env `<stack>/<env>` goes: beside its spec, or into the folder for generated locks."""
    if locks is None:
        return spec.with_suffix(".lock")
    return locks / name.partition("/")[0] / "envs" / f"{spec.stem}.lock"


def parse_mirror(pair: str) -> tuple[str, str]:
    """`https://channel=http://mirror` as a pair of URLs without a slash at the end."""
    url, separator, real = pair.partition("=")
    if not separator or "://" not in url or "://" not in real:
        raise LockError(f"--mirror {pair}: write URL=URL, such as https://conda.anaconda.org/conda-forge=http://mirror")
    return url.rstrip("/"), real.rstrip("/")


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _leave(code: int) -> NoReturn:
    """End the process here: py-rattler's threads can crash a Python that shuts down in the ordinary way."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
