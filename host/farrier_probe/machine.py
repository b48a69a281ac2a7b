"""The machine itself: system, memory, disks, listening sockets, packages, users, unit files."""

from __future__ import annotations

import glob
import itertools
import os
import platform
import pwd
import shutil
import socket
import struct
import subprocess

# In the order in which systemd looks.
_UNIT_FOLDERS = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_LISTEN = "0A"  # TCP state in /proc/net/tcp


def operating_system() -> dict[str, str]:
    """Distribution and architecture, in os-release's words."""
    with open("/etc/os-release", encoding="utf-8") as file:
        lines = dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
    plain = {key: lines.get(key, "").strip('"') for key in ("ID", "VERSION_ID", "VERSION_CODENAME", "PRETTY_NAME")}
    return {key.lower(): value for key, value in plain.items()} | {"machine": platform.machine()}


def memory() -> int:
    """Bytes of memory that the kernel reports."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return int(next(line for line in file if line.startswith("MemTotal:")).split()[1]) * 1024


def disk(folder: str) -> dict[str, int]:
    """Free and total bytes, and the device, of the file system that will hold `folder`."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    usage = shutil.disk_usage(folder)
    return {"free": usage.free, "total": usage.total, "device": os.stat(folder).st_dev}


def packages(names: list[str]) -> dict[str, str]:
    """Versions of those of `names` that are installed."""
    command = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status} ${Version}\n", *names]
    lines = subprocess.run(command, check=False, capture_output=True, text=True).stdout.splitlines()
    found = [line.split(" ") for line in lines]
    return {name: version for name, status, version in found if status == "installed"}


def user(name: str) -> dict[str, object] | None:
    """The account, or None. `comment` tells whose it is."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return {"uid": entry.pw_uid, "comment": entry.pw_gecos, "home": entry.pw_dir}


def units(names: list[str]) -> dict[str, str]:
    """Those of the unit files that exist, whoever wrote them: name -> first line (Farrier's names the stack)."""
    paths = [(name, f"{folder}/{name}") for folder in _UNIT_FOLDERS for name in names]
    return {name: first_line(path) or "" for name, path in reversed(paths) if os.path.isfile(path)}


def owners(launchers: list[str]) -> dict[str, str]:
    """Those of the launchers that exist, whoever wrote them: path -> second line (Farrier's names the stack)."""
    return {path: _lines(path, 2)[-1] for path in launchers if os.path.lexists(path)}


def _lines(path: str, number: int) -> list[str]:
    """The first lines of a file; one empty one where there is none to read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in itertools.islice(file, number)] or [""]
    except OSError:
        return [""]


def first_line(path: str) -> str | None:
    """The file's first line, or None when there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().rstrip("\n")
    except OSError:
        return None


def listeners() -> list[dict[str, object]]:
    """Listening TCP sockets with address, port and the process that holds them."""
    sockets = [entry for table in ("tcp", "tcp6") for entry in listening(f"/proc/net/{table}")]
    owners = holders({inode for _, _, inode in sockets})
    return [{"address": address, "port": port} | owners.get(inode, {}) for address, port, inode in sockets]


def listening(table: str) -> list[tuple[str, int, str]]:
    """(address, port, inode) of the listening sockets in a /proc/net table."""
    try:
        with open(table, encoding="ascii") as file:
            rows = [line.split() for line in file][1:]
    except FileNotFoundError:
        return []
    return [(*endpoint(row[1]), row[9]) for row in rows if row[3] == _LISTEN]


def endpoint(text: str) -> tuple[str, int]:
    """The kernel's `0100007F:0050` as (`127.0.0.1`, 80): words in the machine's byte order."""
    host, port = text.split(":")
    words = [struct.pack("=I", int(host[at : at + 8], 16)) for at in range(0, len(host), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, b"".join(words)), int(port, 16)


def holders(inodes: set[str]) -> dict[str, dict[str, object]]:
    """Socket inode -> pid, process name, user and unit of a process that has it open."""
    found: dict[str, dict[str, object]] = {}
    for link in glob.iglob("/proc/[0-9]*/fd/*"):
        try:
            target = os.readlink(link)
        except OSError:
            continue
        inode = target[len("socket:[") : -1] if target.startswith("socket:[") else ""
        if inode in inodes:
            pid = int(link.split("/")[2])
            # PID 1 holds the sockets of socket units for others: a process that serves is the better answer.
            if inode not in found or found[inode]["pid"] == 1:
                found[inode] = process(pid)
    return found


def process(pid: int) -> dict[str, object]:
    """Who a process is."""
    try:
        name = pwd.getpwuid(os.stat(f"/proc/{pid}").st_uid).pw_name
    except (KeyError, OSError):
        name = "?"
    return {"pid": pid, "process": first_line(f"/proc/{pid}/comm") or "?", "user": name, "unit": unit_of(pid)}


def unit_of(pid: int) -> str:
    """The systemd unit of a process: the last part of its path in the unified control group tree."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
            return next((os.path.basename(line.rstrip()) for line in file if line.startswith("0::")), "")
    except OSError:
        return ""
