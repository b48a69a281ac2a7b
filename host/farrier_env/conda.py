"""The conda part of an env: what the lock asks of the host, and its packages into the prefix."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlparse

import rattler
from rattler.exceptions import (
    ExtractError,
    FetchRepoDataError,
    InstallerError,
    IoError,
    LinkError,
    ParseCondaLockError,
    TransactionError,
)
from rattler.networking.middleware import MirrorMiddleware

from farrier_env.check import sha256
from farrier_env.request import Env, EnvError

_INSTALL_ERRORS = (ExtractError, FetchRepoDataError, InstallerError, IoError, LinkError, TransactionError, OSError)
Records = list[rattler.RepoDataRecord]

_UNPACKED = 4  # times the packed size, generously
_NAMES = {"__glibc": "glibc", "__cuda": "the NVIDIA driver's CUDA", "__linux": "the kernel"}


def read_lock(env: Env) -> Records:
    """The packages that the env's lock names for this platform."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "conda.lock"
        file.write_text(env.lock)
        try:
            lock = rattler.LockFile.from_path(file)
        except (ParseCondaLockError, IoError) as error:
            raise EnvError(f"env {env.id}: its conda lock cannot be read: {error}") from None
    environment = lock.default_environment()
    platform = next((platform for platform in lock.platforms() if platform.name == "linux-64"), None)
    if environment is None or platform is None:
        raise EnvError(f"env {env.id}: its conda lock has nothing for linux-64: make it again with `farrier lock`")
    return environment.conda_repodata_records_for_platform(platform) or []


def refuse_unfit_host(env: Env, records: Records) -> None:
    """Stop when a package needs something that this host does not offer. rattler itself installs it silently."""
    offered = host_offers()
    lacking = [line for record in records for line in lacks(record.name.normalized, record.depends, offered)]
    if lacking:
        raise EnvError(
            f"env {env.id} does not fit this host: {'; '.join(lacking)}. Lock it for this host "
            "(`farrier lock --glibc/--cuda`), or bring the host up to what the lock was made for."
        )


def host_offers() -> dict[str, rattler.Version]:
    """What conda calls virtual packages: `__glibc`, `__linux`, and `__cuda` where there is a driver."""
    detected = rattler.VirtualPackage.detect(overrides=rattler.VirtualPackageOverrides.from_env())
    return {package.name.normalized: package.version for package in (found.into_generic() for found in detected)}


def lacks(package: str, depends: Iterable[str], offered: dict[str, rattler.Version]) -> list[str]:
    """The dependencies of `package` on the host that `offered` does not meet, as sentences."""
    found = []
    for dependency in depends:
        name, _, wanted = dependency.partition(" ")
        if not name.startswith("__"):
            continue
        version, label = offered.get(name), _NAMES.get(name, name)
        bounds = wanted.split()[0] if wanted else ""
        if version is None:
            found.append(f"{package} needs {label} {bounds}, which this host does not have")
        elif bounds and not rattler.VersionSpec(bounds).matches(version):
            found.append(f"{package} needs {label} {bounds}, this host has {version}")
    return found


def room_needed(env: Env, records: Records) -> int:
    """Bytes that the env takes: what the plan says, or a guess from the packages' sizes."""
    return env.disk or _UNPACKED * sum(record.size or 0 for record in records)


def install_packages(env: Env, records: Records, cache: Path, mirrors: dict[str, str]) -> None:
    """Link the packages into the env's prefix, through the package cache. Raises EnvError."""
    refuse_changed_files(env, records)
    # Prefixes share files with the cache by hardlinks, so a damaged prefix damages it: believe nothing, check all.
    packages = rattler.PackageCache.new_layered([cache], validation_mode=rattler.ValidationMode.full())
    client = rattler.Client([MirrorMiddleware({url: [real] for url, real in mirrors.items()})]) if mirrors else None
    job = rattler.install(records, env.prefix, package_cache=packages, client=client, show_progress=False)
    try:
        asyncio.run(job)
    except _INSTALL_ERRORS as error:
        through = "".join(f" ({url} is fetched from {real})" for url, real in mirrors.items())
        raise EnvError(f"env {env.id}: a conda package cannot be installed: {one_line(error)}{through}") from None


def refuse_changed_files(env: Env, records: Records) -> None:
    """Check the hash of packages from `file://` channels, which rattler does not."""
    for record in records:
        url = urlparse(record.url)
        if url.scheme != "file":
            continue
        wanted, actual = (record.sha256 or b"").hex(), sha256(Path(unquote(url.path)))
        if actual != wanted:
            raise EnvError(f"env {env.id}: {record.url} has sha256 {actual}, the lock says {wanted}")


def one_line(error: BaseException | str) -> str:
    """Rattler's chain of causes, which it tells in several lines, in one."""
    return "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
