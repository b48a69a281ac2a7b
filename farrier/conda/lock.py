"""Solve an env's spec against a conda channel and write the lock: every package with its URL and sha256."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import rattler
from rattler.exceptions import FetchRepoDataError, GatewayError, InvalidMatchSpecError, SolverError
from rattler.networking.middleware import MirrorMiddleware

from farrier.conda.spec import EnvSpec, load_spec

PLATFORM: Final = "linux-64"
KERNEL = "5.10"  # of Debian 11; no package asks for more than that there is one


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
    mirrors: dict[str, str],
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
    try:
        records = asyncio.run(_solve(urls, wanted, mirrors, list(_virtual_packages(glibc, cuda))))
    except (FetchRepoDataError, GatewayError) as error:
        raise LockError(_unreachable(spec, urls, mirrors, error)) from None
    except SolverError as error:
        raise LockError(f"{spec}: nothing in {', '.join(urls)} satisfies it:\n{error}") from None
    except InvalidMatchSpecError as error:
        raise LockError(f"{spec}: not a conda dependency: {error}") from None
    changed = _write(out, _lock_text(urls, records))
    packages = (f"{record.name.normalized}={record.version}={record.build}" for record in records)
    return Locked(out, tuple(packages), changed)


async def _solve(
    urls: list[str],
    wanted: EnvSpec,
    mirrors: dict[str, str],
    virtual_packages: list[rattler.GenericVirtualPackage],
) -> list[rattler.RepoDataRecord]:
    # A mirror may show other packages under the same URL tomorrow, so nothing of it may stay in the user's cache.
    with tempfile.TemporaryDirectory(prefix="farrier-repodata-") as throwaway:
        gateway = rattler.Gateway(
            client=rattler.Client([MirrorMiddleware({url: [real] for url, real in mirrors.items()})])
            if mirrors
            else None,
            cache_dir=Path(throwaway) if mirrors else None,
            # A server that answers 304 breaks rattler's sharded repodata for the next process.
            default_config=rattler.SourceConfig(sharded_enabled=False),
        )
        records = await rattler.solve(
            urls,
            wanted.dependencies,
            gateway=gateway,
            platforms=[PLATFORM, "noarch"],
            virtual_packages=virtual_packages,
        )
    return sorted(records, key=lambda record: record.file_name)


def _virtual_packages(glibc: str, cuda: str | None) -> Iterator[rattler.GenericVirtualPackage]:
    """What the hosts offer besides packages, as conda names it."""
    versions = {"__unix": "0", "__linux": KERNEL, "__glibc": glibc} | ({"__cuda": cuda} if cuda else {})
    for name, version in versions.items():
        yield rattler.GenericVirtualPackage(
            rattler.PackageName(name), rattler.Version(version), rattler.BuildString("0")
        )


def _lock_text(urls: list[str], records: list[rattler.RepoDataRecord]) -> str:
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


def _write(out: Path, text: str) -> bool:
    if out.is_file() and out.read_text() == text:
        return False
    out.parent.mkdir(parents=True, exist_ok=True)
    new = out.with_name(f".{out.name}.new")
    new.write_text(text)
    new.replace(out)
    return True


def _unreachable(spec: Path, urls: list[str], mirrors: dict[str, str], error: Exception) -> str:
    through = "".join(f"\n  {url} is fetched from {real}" for url, real in mirrors.items())
    return (
        f"{spec}: cannot read the channel {', '.join(urls)}: {error}{through}\n"
        "  Is it right, and reachable from here? --channel names another one, --mirror another place of the same."
    )
