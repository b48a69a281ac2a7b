"""Graphics cards that are not there: one value describes them; a folder, or a booted host, is made to look so.

world = World((T4, A10))
install(host, world)                                  # once: library, folder, device nodes, variables
show(host, world.with_process(T4.pci, pid, 8 * GIB))  # at run time, as often as wanted
"""

from __future__ import annotations

import base64
import functools
import io
import json
import os
import secrets
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from testbed.host import Host
from tests.gpu import proc

GIB = 1024**3
FOLDER = "/run/fakegpu"
MISMATCH, LOST = 18, 15  # NVML_ERROR_LIB_RM_VERSION_MISMATCH, NVML_ERROR_GPU_IS_LOST
VARIABLES = {"FARRIER_GPU_PROC": f"{FOLDER}/proc", "FARRIER_GPU_KMSG": f"{FOLDER}/kmsg"}
_LIBRARY = "usr/local/lib/x86_64-linux-gnu/libnvidia-ml.so.1"
# A bare Debian has no xz of its own.
_UNPACK = 'import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode="r|xz").extractall(sys.argv[1])'
_KEPT = "/var/lib/fakegpu"  # /run is empty after a reboot


@dataclass(frozen=True)
class Card:
    """One card. `code` is NVML's answer to every question about it; `used` is what no process accounts for."""

    pci: str
    model: str
    uuid: str
    minor: int
    capability: str
    total: int
    used: int = 0
    utilisation: int = 0
    code: int = 0


@dataclass(frozen=True)
class Process:
    """A process that holds memory of a card."""

    pci: str
    pid: int
    memory: int


@dataclass(frozen=True)
class World:
    """The cards of a host, and how its driver is."""

    cards: tuple[Card, ...] = ()
    processes: tuple[Process, ...] = ()
    driver: str = "535.309.01"
    libraries: str = "535.309.01"
    is_open: bool = False
    init: int = 0
    hang: bool = False
    kernel: tuple[str, ...] = ()

    def with_process(self, pci: str, pid: int, memory: int) -> World:
        """A process more, ours or a foreign one; `pid` as the host counts."""
        return replace(self, processes=(*self.processes, Process(pci, pid, memory)))

    def with_card(self, pci: str, **changed: object) -> World:
        """Another state of one card."""
        cards = (replace(card, **changed) if card.pci == pci else card for card in self.cards)  # type: ignore[arg-type]
        return replace(self, cards=tuple(cards))

    def without_card(self, pci: str) -> World:
        """A card is gone from the bus."""
        return replace(self, cards=tuple(card for card in self.cards if card.pci != pci))

    def mismatched(self, libraries: str = "535.261.03") -> World:
        """The libraries on disk are others than the loaded module."""
        return replace(self, libraries=libraries, init=MISMATCH)

    def with_xid(self, pci: str, code: int, text: str = "pid=4711, name=python", at: float = 1.0) -> World:
        """A line more in the kernel log; `at` is seconds since boot."""
        line = f"4,{len(self.kernel) + 1},{int(at * 1e6)},-;NVRM: Xid (PCI:{pci.partition('.')[0]}): {code}, {text}"
        return replace(self, kernel=(*self.kernel, line))

    def files(self) -> Iterator[tuple[str, str]]:
        """Path below the folder, and text."""
        yield "cards.json", json.dumps(asdict(self), indent=2)
        yield "nvml", "".join(f"{line}\n" for line in self._nvml())
        yield "kmsg", "".join(f"{line}\n" for line in self.kernel)
        for path, text in proc.tree(self.cards, self.driver, is_open=self.is_open):
            yield f"proc/{path}", text

    def _nvml(self) -> Iterator[str]:
        yield from (f"driver {self.driver}", f"libraries {self.libraries}", f"init {self.init}", f"hang {self.hang:d}")
        for card in self.cards:
            used = card.used + sum(each.memory for each in self.processes if each.pci == card.pci)
            words = (card.pci, card.uuid, card.minor, card.capability, card.total, used, card.utilisation, card.code)
            yield f"card {' '.join(map(str, words))} {card.model}"
        for process in self.processes:
            yield f"process {process.pci} {process.pid} {process.memory}"


T4 = Card("0000:3b:00.0", "Tesla T4", "GPU-11111111-2222-3333-4444-555555555555", 0, "7.5", 16 * GIB)
SECOND_T4 = Card("0000:5e:00.0", "Tesla T4", "GPU-66666666-7777-8888-9999-aaaaaaaaaaaa", 1, "7.5", 16 * GIB)
A10 = Card("0000:86:00.0", "NVIDIA A10G", "GPU-bbbbbbbb-cccc-dddd-eeee-ffffffffffff", 2, "8.6", 24 * GIB)
V100 = Card("0000:af:00.0", "Tesla V100-PCIE-16GB", "GPU-01234567-89ab-cdef-0123-456789abcdef", 3, "7.0", 16 * GIB)


@functools.cache
def library() -> bytes:
    """The fake libnvidia-ml.so.1, compiled."""
    source = Path(__file__).with_name("nvml.c")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "library")
        options = ("-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-D_GNU_SOURCE", "-Wl,-soname,libnvidia-ml.so.1")
        subprocess.run(["cc", *options, "-o", str(made), str(source)], check=True)
        return made.read_bytes()


def put(folder: Path, world: World) -> None:
    """Make `folder` look like this: $FAKEGPU for the library; each file is replaced at once."""
    files = dict(world.files())
    for gone in (folder / "proc" / "gpus").glob("*"):
        if f"proc/gpus/{gone.name}/information" not in files:
            shutil.rmtree(gone)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == "kmsg":  # a log grows; whoever reads it keeps it open
            path.write_text(text, encoding="utf-8")
            continue
        new = path.with_name(f".{path.name}")
        new.write_text(text, encoding="utf-8")
        new.rename(path)


def install(host: Host, world: World) -> None:
    """Give a booted host these cards: they are there for its services and its shells, and after a reboot."""
    variables = " ".join(f"{name}={value}" for name, value in VARIABLES.items())
    files = {
        _LIBRARY: library(),
        "etc/environment": variables.replace(" ", "\n").encode() + b"\n",
        "etc/systemd/system.conf.d/fakegpu.conf": f"[Manager]\nDefaultEnvironment={variables}\n".encode(),
        "etc/tmpfiles.d/fakegpu.conf": "".join(f"{line}\n" for line in _nodes(world)).encode(),
    }
    ready = f"mkdir -p {_KEPT} && ldconfig && systemctl set-environment {variables} && systemd-tmpfiles --create"
    send(host, files, then=ready)
    show(host, world)


def _nodes(world: World) -> Iterator[str]:
    yield f"L+ {FOLDER} - - - - {_KEPT}"
    # The character devices have NVIDIA's numbers and no driver: they can be seen and allowed, not opened.
    for name, number in {**{f"nvidia{card.minor}": card.minor for card in world.cards}, "nvidiactl": 255}.items():
        yield f"c /dev/{name} 0666 root root - 195:{number}"
    yield "c /dev/nvidia-uvm 0666 root root - 510:0"
    yield "c /dev/nvidia-uvm-tools 0666 root root - 510:1"


def show(host: Host, world: World) -> None:
    """Change what the host's driver says, from one moment to the next."""
    # The tree is exchanged by one rename of a symlink: no reader finds half of it.
    tree = f"tree-{secrets.token_hex(4)}"
    link = f"mv new/proc {tree} && ln -s {tree} link && mv -T link proc"
    old = f"find . -maxdepth 1 -name 'tree-*' ! -name {tree} -exec rm -r {{}} +"
    then = f"cd {_KEPT} && {link} && mv new/cards.json new/nvml . && cat new/kmsg >kmsg && rm -r new && {old}"
    send(host, {name: text.encode() for name, text in world.files()}, f"{_KEPT}/new", then=then)


def send(host: Host, files: dict[str, bytes], folder: str = "/", *, then: str = "true") -> None:
    """Put small files onto a host and run a command there, in one call; SSH gives it no standard input."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.lstrip("/"))
            entry.size, entry.mode = len(content), 0o755 if content.startswith((b"#!", b"\x7fELF")) else 0o644
            archive.addfile(entry, io.BytesIO(content))
    text = base64.b64encode(packed.getvalue()).decode()
    unpack = f"mkdir -p {folder} && echo {text} | base64 -d | python3 -c '{_UNPACK}' {folder}"
    done = host.run(f"{unpack} && {then}", timeout=60)
    assert done.returncode == 0, done.stderr


def environment(folder: Path) -> dict[str, str]:
    """The variables of a program of this machine that is to see the cards in `folder` (see `put`)."""
    where = folder / "lib"
    where.mkdir(parents=True, exist_ok=True)
    (where / "libnvidia-ml.so.1").write_bytes(library())
    ours = {"FAKEGPU": folder, "FARRIER_GPU_PROC": folder / "proc", "FARRIER_GPU_KMSG": folder / "kmsg"}
    return dict(os.environ) | {name: str(path) for name, path in ours.items()} | {"LD_LIBRARY_PATH": str(where)}
