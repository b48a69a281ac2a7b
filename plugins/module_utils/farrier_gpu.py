"""What a host says of its graphics cards and of NVIDIA's driver: read from files, and without asking the driver."""

from __future__ import annotations

import glob
import os
import re
import subprocess
from typing import Any

SYSFS = "/sys/bus/pci/devices"
PROC = "/proc/driver/nvidia"
NVIDIA, AMD = "0x10de", "0x1002"
PREFERENCES = "/etc/apt/preferences.d/farrier-nvidia"
SOURCES = "/etc/apt/sources.list.d/farrier-nvidia.sources"
_DISPLAY = "0x03"  # PCI's class of display controllers: 0x0300 with, 0x0302 without connectors
_SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_MOK = "/var/lib/dkms/mok.pub"
_LIBRARIES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib")
_PACKAGES = ("nvidia*", "libnvidia*", "libcuda1", "linux-image-*", "linux-headers-*", "linux-modules-nvidia-*", "dkms")
# Of a build log: the compiler's error and make's way out of it. A compiler's command line alone has 5 kB.
_TAIL, _WIDTH = 40, 200
_INDEX = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(SIGNED_BY)"  # the last stays as it is where no key is named
_ROW = r"${Package}\t${db:Status-Abbrev}\t${db:Status-Want}\t${Version}\n"


def look() -> dict[str, Any]:
    """The cards of NVIDIA and AMD; and, where there is one of NVIDIA's, its `driver`."""
    found = cards()
    ours = any(card["vendor"] == NVIDIA for card in found)
    return {"cards": found, "driver": driver() if ours else None}


def cards(sysfs: str = SYSFS) -> list[dict[str, str]]:
    """Display controllers of NVIDIA and AMD in order of their PCI addresses; needs no driver."""
    found = []
    for pci in sorted(os.listdir(sysfs) if os.path.isdir(sysfs) else ()):
        kind = _read(f"{sysfs}/{pci}/class")
        vendor = _read(f"{sysfs}/{pci}/vendor") if kind.startswith(_DISPLAY) else ""
        if vendor in (NVIDIA, AMD):
            found.append({"pci": pci, "vendor": vendor, "device": _read(f"{sysfs}/{pci}/device"), "class": kind})
    return found


def driver() -> dict[str, Any]:
    """What is loaded, what is installed, for which kernels, and what apt was told."""
    return {
        "loaded": loaded(),
        "libraries": libraries(),
        "bound": sorted(os.path.basename(path) for path in glob.glob(f"{PROC}/gpus/*")),
        "nouveau": os.path.isdir("/sys/module/nouveau"),
        "running": os.uname().release,
        "kernels": kernels(),
        "dkms": _run("dkms", "status"),
        "logs": logs(),
        "packages": packages(),
        "preferences": _read(PREFERENCES, whole=True),
        "sources": _read(SOURCES, whole=True),
        "persistent": _run("systemctl", "is-active", "nvidia-persistenced.service").strip() == "active",
        "secure_boot": secure_boot(),
        "enrolled": "already enrolled" in _run("mokutil", "--test-key", _MOK) if os.path.exists(_MOK) else False,
        "indexes": _run("apt-get", "indextargets", "--format", _INDEX, "Created-By: Packages").splitlines(),
    }


def loaded(proc: str = PROC) -> str | None:
    """The version of the module in the kernel; both of NVIDIA's formats have it after the words `Kernel Module`."""
    found = re.search(r"Kernel Module\D*?(?:x86_64 *)?(\d+\.\d+(?:\.\d+)?)", _read(f"{proc}/version", whole=True))
    return found.group(1) if found else None


def libraries(folders: tuple[str, ...] = _LIBRARIES) -> str | None:
    """The version of the user libraries, which the name of libnvidia-ml.so.1's file ends with."""
    for folder in folders:
        name = os.path.basename(os.path.realpath(f"{folder}/libnvidia-ml.so.1"))
        found = re.fullmatch(r"libnvidia-ml\.so\.(\d+\.\d+(?:\.\d+)?)", name)
        if found:
            return found.group(1)
    return None


def kernels(boot: str = "/boot", modules: str = "/lib/modules") -> list[str]:
    """The kernels that the host can boot."""
    names = (os.path.basename(path)[len("vmlinuz-") :] for path in glob.glob(f"{boot}/vmlinuz-*"))
    return sorted(name for name in names if os.path.isdir(f"{modules}/{name}"))


def logs(folder: str = "/var/lib/dkms") -> dict[str, str]:
    """The end of the log of each build that DKMS left in the middle, by `<module>/<version>`."""
    found = glob.glob(f"{folder}/nvidia*/*/build/make.log")
    tails = {path: _read(path, whole=True).splitlines()[-_TAIL:] for path in found}
    return {"/".join(path.split("/")[-4:-2]): "\n".join(map(_short, lines)) for path, lines in tails.items()}


def _short(line: str) -> str:
    return line if len(line) <= _WIDTH else f"{line[:_WIDTH]}…"


def packages() -> dict[str, dict[str, Any]]:
    """The driver's and the kernels' packages that dpkg knows something of: state (`ii`), version, whether held."""
    rows = [line.split("\t") for line in _run("dpkg-query", "--show", "--showformat", _ROW, *_PACKAGES).splitlines()]
    return {
        name: {"state": state.strip(), "held": want == "hold", "version": version}
        for name, state, want, version in rows
        if state.strip() not in ("un", "rc", "pn")
    }


def secure_boot(variable: str = _SECURE_BOOT) -> bool:
    """Whether the firmware lets only signed code run: the last byte of an EFI variable."""
    try:
        with open(variable, "rb") as file:
            return file.read()[-1:] == b"\x01"
    except OSError:
        return False


def _read(path: str, *, whole: bool = False) -> str:
    """A file's first line, or all of it; nothing where there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read() if whole else file.readline().strip()
    except OSError:
        return ""


def _run(*command: str) -> str:
    """What a program says on standard output; nothing where there is no such program."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
