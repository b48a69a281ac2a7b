"""What runs, or is told to run, from Farrier's folders: by the paths that processes, units and sites name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from farrier_host.release.layout import Layout

_TEXTS = ("etc/systemd/system", "run/systemd/system", "run/systemd/transient", "run/systemd/generator", "etc/caddy")
_BIGGEST = 2**20  # bytes of a unit; a bigger file in these folders is none


class Named:
    """Every path below some folders that anything names."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = frozenset(paths)

    def uses(self, path: str) -> bool:
        """Whether `path`, or something in it, is named."""
        return any(named == path or named.startswith(f"{path}/") for named in self._paths)


def named(layout: Layout, folders: Sequence[str], proc: Path = Path("/proc")) -> Named:
    """What is named below `folders` (absolute, as on the host), by a process, a unit, a drop-in or a Caddy file.

    Of a process: its program, its folder, its mapped files, its arguments and its environment, which hold the paths of
    code that is only imported. An admin's own unit counts as much as Farrier's.
    """
    # Of /tmp/test/opt/farrier/envs/x the part from /opt on: so a tree that stands for a host's is understood, too.
    heads = b"|".join(re.escape(folder.encode()) for folder in folders)
    pattern = re.compile(rb"(?:" + heads + rb")/[\w.@+/-]*")
    texts = [*_texts(layout), *_processes(proc)]
    return Named([match.decode().rstrip("/") for text in texts for match in set(pattern.findall(text))])


def _texts(layout: Layout) -> Iterator[bytes]:
    for folder in _TEXTS:
        for path in (layout.root / folder).rglob("*"):
            try:
                if path.is_file() and path.stat().st_size <= _BIGGEST:
                    yield path.read_bytes()
            except OSError:  # it went while we looked
                continue


def _processes(proc: Path) -> Iterator[bytes]:
    for process in proc.glob("[0-9]*"):
        for link in ("exe", "cwd"):
            try:
                yield str((process / link).readlink()).encode()
            except OSError:  # a kernel thread, or it ended
                continue
        for file in ("maps", "cmdline", "environ"):
            try:
                yield (process / file).read_bytes()
            except OSError:
                continue
