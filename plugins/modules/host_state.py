#!/usr/bin/python3
"""What is on the host now: the one probe that every decision of a deploy rests on."""

from __future__ import annotations

DOCUMENTATION = """
module: host_state
short_description: Read everything that a deploy must know of a host, in one call
description:
  - Reads operating system, memory, disk, listening sockets with their owners, packages, users, units, envs, models
    and live releases. Changes nothing, so it runs in check mode too.
author: Farrier
options:
  packages: {type: list, elements: str, required: true, description: Debian packages to look for.}
  users: {type: list, elements: str, required: true, description: Users to look for.}
  folders: {type: list, elements: str, required: true, description: Folders whose free space counts.}
  models_root: {type: path, required: true, description: The model store.}
"""
EXAMPLES = """
- name: Read the state of the host
  host_state: {packages: [caddy], users: [demo], folders: [/opt/farrier], models_root: /srv/models}
"""
RETURN = """
ansible_facts: {description: The state, as C(farrier_state)., returned: always, type: dict}
"""

import glob
import json
import os
import platform
import pwd
import shutil
import socket
import struct
import subprocess

from ansible.module_utils.basic import AnsibleModule

_LISTEN = "0A"  # TCP state in /proc/net/tcp
_ROOT = "/opt/farrier"


def main() -> None:
    """Probe and exit."""
    strings = {"type": "list", "elements": "str", "required": True}
    options = {
        "packages": strings,
        "users": strings,
        "folders": strings,
        "models_root": {"type": "path", "required": True},
    }
    module = AnsibleModule(options, supports_check_mode=True)
    wanted = module.params
    state = {
        "os": operating_system(),
        "memory": memory(),
        "disks": {folder: disk(folder) for folder in wanted["folders"]},
        "listeners": listeners(),
        "packages": packages(wanted["packages"]),
        "users": {name: user(name) for name in wanted["users"]},
        "units": units(),
        "envs": ready(f"{_ROOT}/envs/*/.ready"),
        "models": ready(f"{wanted['models_root']}/*/*/.complete"),
        "live": live(),
        "recovers": os.path.exists("/etc/systemd/system/sysinit.target.wants/farrier-release-recover.service"),
        "caddyfile": first_line("/etc/caddy/Caddyfile"),
    }
    module.exit_json(changed=False, ansible_facts={"farrier_state": state})


def ready(markers: str) -> list[str]:
    """The folders that hold one of `markers`, a glob for the file that is written last."""
    return sorted(os.path.dirname(path) for path in glob.glob(markers))


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


def units() -> dict[str, str]:
    """Unit files of administrators and packages: name -> first line (which names the stack, when Farrier wrote it)."""
    folders = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
    found: dict[str, str] = {}
    for folder in folders:
        for path in glob.glob(f"{folder}/*.*"):
            if os.path.isfile(path):
                found.setdefault(os.path.basename(path), first_line(path) or "")
    return found


def first_line(path: str) -> str | None:
    """The file's first line, or None when there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().rstrip("\n")
    except OSError:
        return None


def live() -> dict[str, str]:
    """The live release of each stack, from farrier-release's journal."""
    found = {}
    for path in glob.glob(f"{_ROOT}/*/state.json"):
        try:
            with open(path, encoding="utf-8") as file:
                active = json.load(file)["active"]
        except (ValueError, KeyError):  # damaged: farrier-release knows how to go on
            continue
        if active:
            found[os.path.basename(os.path.dirname(path))] = active
    return found


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


if __name__ == "__main__":
    main()
