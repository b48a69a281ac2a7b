"""A whole machine in QEMU: the one place where the limits of units bite, because its kernel is its own.

The root is that of the test hosts with a kernel installed, cached in build/limits/ for as long as their image stays the
same. It is emulated, which works everywhere alike: some 40 s to boot, and programs run about ten times slower.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed import images, ssh
from testbed.settings import KEY
from testbed.shell import lock, run, say

FOLDER = Path(__file__).parents[2] / "build" / "limits"
_SIZE = "1500M"
_BOOT_SECONDS = 240
_SCRIPT = Path(__file__).with_name("image.sh")


@dataclass(frozen=True)
class Machine:
    """A machine that runs; SSH answers at a port of this one."""

    port: int

    def run(self, command: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a shell command line on it as root."""
        return subprocess.run(
            ["ssh", "-p", str(self.port), "-i", str(KEY), *ssh.OPTIONS, "root@127.0.0.1", command],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
        )

    def must(self, command: str) -> str:
        """The same for a command that has to succeed; what it printed."""
        done = self.run(command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def write(self, files: dict[str, str]) -> None:
        """Write files on it, by absolute path."""
        with tempfile.TemporaryDirectory() as folder:
            for path, text in files.items():
                target = Path(folder) / path.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)
            tops = sorted({path.split("/")[1] for path in files})
            copy = ["scp", "-qr", "-P", str(self.port), "-i", str(KEY), *ssh.OPTIONS]
            subprocess.run([*copy, *(f"{folder}/{top}" for top in tops), "root@127.0.0.1:/"], check=True)


def image() -> Path:
    """The folder with disk, kernel and initrd; made when the test hosts' image is another one than before."""
    base = images.ensure("bookworm", warm=True)
    folder = FOLDER / base.name
    with lock("limits-image", waiting="limits: another process builds the machine's image, waiting"):
        if not folder.is_dir():
            started = time.monotonic()
            say(f"limits: building the machine's image (about a minute; log: {FOLDER / 'image.log'})")
            shutil.rmtree(FOLDER, ignore_errors=True)  # those of older images
            _build(base, FOLDER / "part")
            (FOLDER / "part").rename(folder)
            say(f"limits: built in {time.monotonic() - started:.0f} s")
    return folder


def _build(base: Path, part: Path) -> None:
    part.mkdir(parents=True)
    root, key = part / "root", part / "key.pub"
    run("cp", "-a", str(base), str(root))
    key.write_text(ssh.ensure_key())
    with (FOLDER / "image.log").open("w") as log:
        private = ["unshare", "--mount", "--propagation", "private"]
        subprocess.run([*private, str(_SCRIPT), str(root), str(key)], check=True, stdout=log, stderr=log)
    run("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(part / "disk"), _SIZE)
    shutil.rmtree(root)


@contextmanager
def booted() -> Iterator[Machine]:
    """A machine that is up. What it writes is forgotten when it is switched off, at the end."""
    folder, port = image(), _free_port()
    log = FOLDER / "console.log"
    started = time.monotonic()
    with log.open("w") as console:
        process = subprocess.Popen(_command(folder, port), stdin=subprocess.DEVNULL, stdout=console, stderr=console)
    try:
        machine = Machine(port)
        _await(machine, process, log)
        say(f"limits: up after {time.monotonic() - started:.0f} s")
        yield machine
    finally:
        process.kill()
        process.wait()


def _command(folder: Path, port: int) -> list[str]:
    kernel = ["-kernel", str(folder / "vmlinuz"), "-initrd", str(folder / "initrd")]
    disk = f"file={folder / 'disk'},format=raw,if=virtio,snapshot=on"
    network = f"user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"
    return [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", "1", "-m", "1024", "-nographic", "-no-reboot",
        *kernel, "-append", "root=/dev/vda rw console=ttyS0 quiet",
        "-drive", disk, "-netdev", network, "-device", "virtio-net-pci,netdev=n",
    ]  # fmt: skip


def _await(machine: Machine, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _BOOT_SECONDS
    while machine.run("systemctl is-system-running --wait").returncode == 255:  # SSH does not answer yet
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        assert process.poll() is None, f"QEMU ended: {tail}"
        assert time.monotonic() < deadline, f"the machine does not come up: {tail}"
        time.sleep(0.5)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
