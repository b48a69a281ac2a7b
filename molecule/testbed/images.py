"""Root images of Debian, built once by mmdebstrap and cached; hosts lay an overlay over them and never change them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from testbed import sources
from testbed.settings import (
    BARE_PACKAGES,
    CACHE,
    EXTRA_CERTIFICATES,
    IMAGE_DAYS,
    SUITES,
    WARM_PACKAGES,
    WARM_SERVICES,
)
from testbed.shell import DriverError, lock, lock_if_free, run, say

_DAY = 86400.0
_SIGN_OF_LIFE = 15.0  # seconds
# An empty machine-id: each host gets its own at its first boot. Lists dated 1970: Ansible's cache_valid_time looks at
# the folder's date and would otherwise take the empty lists of a fresh image for current ones.
_FINISH = """
root=$1
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id" "$root/etc/hostname" "$root/etc/resolv.conf"
rm -f "$root/var/lib/apt/periodic/update-success-stamp"
touch -d @0 "$root/var/lib/apt/lists"
chroot "$root" update-ca-certificates >/dev/null
"""
# Fails in a namespace on Debian 13, and the host would count as degraded.
_MASK = 'ln -sf /dev/null "$root/etc/systemd/system/systemd-modules-load.service"\n'


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what an image holds."""

    suite: str
    warm: bool
    archive: tuple[str, ...]
    certificates: tuple[Path, ...]

    @property
    def packages(self) -> tuple[str, ...]:
        """Debian packages to include, beside the essential ones."""
        return tuple(sorted(BARE_PACKAGES + (WARM_PACKAGES if self.warm else ())))

    @property
    def finish(self) -> str:
        """Shell script run at the end, with the image's root as its first argument."""
        disable = f'chroot "$root" systemctl --quiet disable {" ".join(WARM_SERVICES)}\n' if self.warm else ""
        return _FINISH + _MASK + disable

    @property
    def name(self) -> str:
        """Folder name: suite, kind, and a hash over the rest."""
        parts = [*self.archive, *self.packages, self.finish, *(path.read_text() for path in self.certificates)]
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        return f"{self.label}-{digest[:12]}"

    @property
    def label(self) -> str:
        """Suite and kind, for people."""
        return f"{self.suite}-{'warm' if self.warm else 'bare'}"


def recipe(suite: str, *, warm: bool) -> Recipe:
    """The recipe for a suite as this machine would build it now: its own apt archive, its extra certificates."""
    if suite not in SUITES:
        raise DriverError(f"unknown suite {suite!r}: choose one of {', '.join(SUITES)}")
    archive = tuple(sources.for_suite(sources.read_sources(), sources.codename(), suite))
    return Recipe(suite, warm, archive, tuple(sorted(EXTRA_CERTIFICATES.glob("*.crt"))))


def ensure(suite: str, *, warm: bool = False) -> Path:
    """Folder with the root file system of that kind of host; built when there is none, or only an old one."""
    wanted = recipe(suite, warm=warm)
    folder = CACHE / wanted.name
    if _is_current(folder):
        return folder
    with lock(f"image-{wanted.name}", waiting=f"image {wanted.label}: another process builds it, waiting"):
        if not _is_current(folder):
            _build_or_keep(wanted, folder)
    return folder


def prune(in_use: Collection[str]) -> None:
    """Remove cached images that no host of those image names uses and that would not be booted any more."""
    kept = {recipe(suite, warm=warm).name for suite in SUITES for warm in (False, True)} | set(in_use)
    for path in CACHE.glob("*"):
        name = path.name.partition(".")[0]
        with lock_if_free(f"image-{name}") as taken:
            if taken and (name not in kept or path.suffix == ".part"):
                _remove_path(path)


def remove_all() -> None:
    """Remove the whole cache."""
    shutil.rmtree(CACHE, ignore_errors=True)


def _remove_path(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _is_current(folder: Path) -> bool:
    return folder.is_dir() and time.time() - folder.stat().st_mtime < IMAGE_DAYS * _DAY


def _build_or_keep(wanted: Recipe, folder: Path) -> None:
    try:
        _build(wanted, folder)
    except DriverError as error:
        if not folder.is_dir():
            raise
        say(f"image {wanted.label}: stays the old one, because a new one could not be built: {error}")


def _build(wanted: Recipe, folder: Path) -> None:
    """Build next to the final place and rename, so that a broken build never counts as an image."""
    CACHE.mkdir(parents=True, exist_ok=True)
    part, log, started = Path(f"{folder}.part"), Path(f"{folder}.log"), time.monotonic()
    shutil.rmtree(part, ignore_errors=True)
    say(f"image {wanted.label}: building from {wanted.archive[0].split()[-3]} (about 30 s; log: {log})")
    code = _run_telling(_mmdebstrap(wanted, part), log, wanted.label)
    if code != 0:
        shutil.rmtree(part, ignore_errors=True)
        raise DriverError(f"mmdebstrap ended with exit code {code}; the end of {log}:\n{_tail(log)}")
    _retire(folder)
    os.utime(part)
    part.rename(folder)
    say(f"image {wanted.label}: built in {time.monotonic() - started:.0f} s")


def _run_telling(command: list[str], log: Path, label: str) -> int:
    """Run a long command into its log, with a sign of life now and then; returns its exit code."""
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT) as process:
        while True:
            try:
                return process.wait(timeout=_SIGN_OF_LIFE)
            except subprocess.TimeoutExpired:
                say(f"image {label}: {_tail(log, lines=1)[:90]}")


def _mmdebstrap(wanted: Recipe, target: Path) -> list[str]:
    proxy = [f"--aptopt={line}" for line in run("apt-config", "dump", "Acquire").splitlines() if "::Proxy " in line]
    certificates = [f'--essential-hook=mkdir -p "$1{EXTRA_CERTIFICATES}"'] if wanted.certificates else []
    copies = [f'--essential-hook=cp "{path}" "$1{EXTRA_CERTIFICATES}/"' for path in wanted.certificates]
    # a warm host keeps apt's lists: the next `apt-get install` needs no update first
    lists = ["--skip=cleanup/apt/lists"] if wanted.warm else []
    include = "--include=" + ",".join(wanted.packages)
    hook = f"--customize-hook={wanted.finish}"
    # what it mounts into the target is seen by nobody else, so that removing a broken build can never reach /dev
    private = ["unshare", "--mount", "--propagation", "private"]
    mode = ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory"]
    options = [include, *proxy, *certificates, *copies, *lists, hook]
    return [*private, *mode, *options, wanted.suite, str(target), *wanted.archive]


def _retire(folder: Path) -> None:
    """Move an old image aside; hosts that still run on it keep its files until they end."""
    if folder.is_dir():
        old = Path(f"{folder}.old")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
