"""Solve an env's spec against a conda channel and write the lock: every package with its URL and sha256."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import rattler
from rattler.exceptions import FetchRepoDataError, GatewayError, InvalidMatchSpecError, SolverError
from rattler.networking.middleware import MirrorMiddleware

from farrier.conda.spec import load_spec

PLATFORM: Final = "linux-64"
KERNEL = "5.10"  # of Debian 11; no package asks for more than that there is one

Answer = TypeVar("Answer")


class LockError(Exception):
    """The lock cannot be made; the message says why and what to do. An older lock is left as it was."""


@dataclass(frozen=True)
class Locked:
    """A lock that is up to date. `changed` is False when the file already said the same."""

    path: Path
    packages: tuple[str, ...]  # name=version=build
    changed: bool


def lock_environment(
    spec: Path,
    out: Path,
    *,
    channel: str | None,
    mirrors: Mapping[str, str],
    glibc: str = "2.36",
    cuda: str | None = None,
) -> Locked:
    """Write the lock of the env described in the file `spec` to `out`; the same inputs give the same bytes.

    `channel` replaces the spec's channels. `mirrors` maps channel URLs to where they are really fetched from; the lock
    names the channel. `glibc` and `cuda` are the versions of the hosts that the env is for, not of this machine.
    Raises InvalidInput for a wrong spec, LockError when the channel cannot be reached or nothing fits.
    """
    wanted = load_spec(spec)
    channels = [channel] if channel else wanted.channels
    urls = [rattler.Channel(name).base_url for name in channels]
    records = solve(spec, urls, wanted.dependencies, mirrors=mirrors, offered=offered(glibc, cuda))
    return Locked(out, tuple(map(shown, records)), write(out, lock_text(urls, records)))


def offered(glibc: str, cuda: str | None) -> dict[str, rattler.Version]:
    """What the hosts offer besides packages, as conda names it."""
    versions = {"__unix": "0", "__linux": KERNEL, "__glibc": glibc} | ({"__cuda": cuda} if cuda else {})
    return {name: rattler.Version(version) for name, version in versions.items()}


def solve(
    file: Path,
    urls: Sequence[str],
    dependencies: Sequence[str],
    *,
    mirrors: Mapping[str, str],
    offered: Mapping[str, rattler.Version],
) -> list[rattler.RepoDataRecord]:
    """The packages that `dependencies`, which stand in `file`, come to. Raises LockError."""

    async def question(gateway: rattler.Gateway) -> list[rattler.RepoDataRecord]:
        return await rattler.solve(
            urls,
            [rattler.MatchSpec(dependency) for dependency in dependencies],  # of text it takes fewer forms
            gateway=gateway,
            platforms=[PLATFORM, "noarch"],
            virtual_packages=list(_virtual_packages(offered)),
        )

    try:
        records = ask(file, urls, mirrors, question)
    except SolverError as error:
        raise LockError(f"{file}: nothing in {', '.join(urls)} satisfies it:\n{error}") from None
    except InvalidMatchSpecError as error:
        raise LockError(f"{file}: not a conda dependency: {error}") from None
    return sorted(records, key=lambda record: record.file_name)


def ask(
    file: Path,
    urls: Sequence[str],
    mirrors: Mapping[str, str],
    question: Callable[[rattler.Gateway], Awaitable[Answer]],
) -> Answer:
    """The answer to a question to the channels at `urls`. Raises LockError when one cannot be read."""

    async def asked() -> Answer:
        # A mirror may show other packages under the same URL tomorrow, so nothing of it may stay in the user's cache.
        with tempfile.TemporaryDirectory(prefix="farrier-repodata-") as throwaway:
            return await question(_gateway(mirrors, Path(throwaway)))

    try:
        return asyncio.run(asked())
    except (FetchRepoDataError, GatewayError) as error:
        raise LockError(_unreachable(file, urls, mirrors, error)) from None


def _gateway(mirrors: Mapping[str, str], throwaway: Path) -> rattler.Gateway:
    middleware = MirrorMiddleware({url: [real] for url, real in mirrors.items()})
    return rattler.Gateway(
        client=rattler.Client([middleware]) if mirrors else None,
        cache_dir=throwaway if mirrors else None,
        # A server that answers 304 breaks rattler's sharded repodata for the next process.
        default_config=rattler.SourceConfig(sharded_enabled=False),
    )


def _virtual_packages(offered: Mapping[str, rattler.Version]) -> Iterator[rattler.GenericVirtualPackage]:
    for name, version in offered.items():
        yield rattler.GenericVirtualPackage(rattler.PackageName(name), version, rattler.BuildString("0"))


def shown(record: rattler.RepoDataRecord) -> str:
    """A package as people name it."""
    return f"{record.name.normalized}={record.version}={record.build}"


def lock_text(urls: Sequence[str], records: Sequence[rattler.RepoDataRecord]) -> str:
    """The lock of these packages, without anything that tells when it was made."""
    platform = rattler.LockPlatform(PLATFORM)
    lock = rattler.LockFile([platform])
    lock.set_channels("default", [rattler.LockChannel(url) for url in urls])
    for record in records:
        lock.add_conda_package("default", platform, record)
    with tempfile.TemporaryDirectory(prefix="farrier-lock-") as folder:
        file = Path(folder) / "lock"
        lock.to_path(file)
        lines = file.read_text().splitlines()
    # Some channels say when they were indexed; the packages are the same, so the lock, and the env's id, must be too.
    return "".join(f"{line}\n" for line in lines if not line.strip().startswith("indexed_timestamp:"))


def write(out: Path, text: str) -> bool:
    """Replace `out` as a whole; False when it said the same already."""
    if out.is_file() and out.read_text() == text:
        return False
    out.parent.mkdir(parents=True, exist_ok=True)
    new = out.with_name(f".{out.name}.new")
    new.write_text(text)
    new.replace(out)
    return True


def _unreachable(spec: Path, urls: Sequence[str], mirrors: Mapping[str, str], error: Exception) -> str:
    through = "".join(f"\n  {url} is fetched from {real}" for url, real in mirrors.items())
    return (
        f"{spec}: cannot read the channel {', '.join(urls)}: {error}{through}\n"
        "  Is it right, and reachable from here? --channel names another one, --mirror another place of the same."
    )
