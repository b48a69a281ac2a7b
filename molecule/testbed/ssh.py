"""Reach a host by SSH with the driver's own key."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Sequence
from ipaddress import IPv4Address

from testbed.settings import KEY
from testbed.shell import run

# A test host's key is its image's and its address is used again: nothing there is worth remembering.
OPTIONS = (
    "-o", "StrictHostKeyChecking=no",
    "-o", "UserKnownHostsFile=/dev/null",
    "-o", "LogLevel=ERROR",
    "-o", "BatchMode=yes",
    "-o", "ConnectTimeout=5",
)  # fmt: skip


def ensure_key() -> str:
    """Public half of the driver's key pair, made on first use. Call it with the network lock held."""
    if not KEY.is_file():
        KEY.parent.mkdir(parents=True, exist_ok=True)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "farrier-testbed", "-f", str(KEY))
    return KEY.with_suffix(".pub").read_text()


def argv(address: IPv4Address | str, command: Sequence[str] = ()) -> list[str]:
    """The ssh command line for root on a host; without a command it is an interactive shell."""
    return ["ssh", "-i", str(KEY), *OPTIONS, f"root@{address}", *command]


def execute(
    address: IPv4Address | str, *command: str, timeout: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command line on a host and return exit code and output (exit code 255: not reached)."""
    line = argv(address, command)
    return subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout, check=False)


def answers(address: IPv4Address) -> bool:
    """Whether something listens on the SSH port."""
    try:
        with socket.create_connection((str(address), 22), timeout=0.5):
            return True
    except OSError:
        return False
