"""What must never be committed: weights, big files, private keys, and what belongs to the machine it was built on."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from testbed.sources import read_sources

ROOT = Path(__file__).parents[2]
MEGABYTE = 1_000_000
WEIGHTS = frozenset(
    f".{suffix}"
    for suffix in (
        *("bin", "ckpt", "engine", "gguf", "h5", "joblib", "keras", "npz", "onnx", "pb", "pickle", "pkl", "plan"),
        *("pt", "pth", "safetensors", "tflite", "torchscript"),
    )
)
PRIVATE_KEY = re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")
ADDRESS_IN_LOCK = re.compile(
    r"://|^\s*(?:-i|-f|--(?:extra-)?index(?:-url)?|--find-links|--trusted-host)\b|^.* @ ", re.MULTILINE
)
FOLDERS_OF_ALL = {"/", "/home", "/mnt", "/opt", "/root", "/srv", "/tmp", "/usr/local/src", "/var/tmp"}


def committed() -> list[Path]:
    """Files that are in git, or would be after `git add .`."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def texts() -> Iterator[tuple[str, str]]:
    """Name and text of every committed text file."""
    for path in committed():
        try:
            yield str(path.relative_to(ROOT)), path.read_text()
        except UnicodeDecodeError:
            continue


def python_locks() -> list[Path]:
    """Requirement files with hashes."""
    return [
        path for path in committed() if path.suffix == ".txt" and "--hash=sha256:" in path.read_text(errors="replace")
    ]


def paths_of_this_machine() -> list[str]:
    """Where this checkout lies, its parent unless everybody has that, and local package folders of pip's settings."""
    around = [str(folder) for folder in (ROOT, ROOT.parent) if str(folder) not in FOLDERS_OF_ALL]
    return around + [urlsplit(each).path for each in package_settings() if each.startswith(("file:", "/"))]


def hosts_of_this_machine() -> set[str]:
    """Hosts that this machine installs packages from, as its own settings name them."""
    addresses = [source.uri for source in read_sources()] + package_settings()
    return {host for host in (urlsplit(address).hostname for address in addresses) if host}


def package_settings() -> list[str]:
    """Every index and folder that pip and uv are told of, by their configuration files and the environment."""
    names = re.compile(r"(PIP|UV)_(.*INDEX.*|FIND_LINKS)")
    values = [value for name, value in os.environ.items() if names.fullmatch(name)]
    home = Path.home()
    for file in (Path("/etc/pip.conf"), home / ".config/pip/pip.conf", home / ".pip/pip.conf"):
        values += pip_addresses(file)
    for file in (Path("/etc/uv/uv.toml"), home / ".config/uv/uv.toml"):
        values += re.findall(r"\"((?:https?|file)://[^\"]+)\"", file.read_text()) if file.is_file() else []
    return [word for value in values for word in value.split()]


def pip_addresses(file: Path) -> list[str]:
    """Values of the keys of a pip.conf that name a place to install from."""
    config = configparser.RawConfigParser()
    config.read(file)
    keys = ("index-url", "extra-index-url", "find-links")
    return [config[section][key] for section in config.sections() for key in keys if key in config[section]]


def test_no_weights_in_git() -> None:
    assert [str(path) for path in committed() if path.suffix in WEIGHTS] == []


def test_no_file_over_5_megabytes_in_git() -> None:
    assert [str(path) for path in committed() if path.stat().st_size > 5 * MEGABYTE] == []


def test_no_private_key_in_git() -> None:
    assert [name for name, text in texts() if PRIVATE_KEY.search(text)] == []


def test_locks_name_no_place_to_install_from() -> None:
    found = {path.name: ADDRESS_IN_LOCK.findall(path.read_text()) for path in python_locks()}
    assert {name: places for name, places in found.items() if places} == {}


def test_every_requirement_of_a_lock_has_a_hash() -> None:
    for path in python_locks():
        requirements = re.split(r"^(?=[A-Za-z0-9])", path.read_text(), flags=re.MULTILINE)
        without = [each.splitlines()[0] for each in requirements if "==" in each and "--hash=sha256:" not in each]
        assert without == [], path


def test_the_tools_of_the_controller_are_locked() -> None:
    assert {"dev.txt", "uv.txt"} <= {path.name for path in python_locks()}


@pytest.mark.parametrize("place", paths_of_this_machine())
def test_no_path_of_this_machine_in_git(place: str) -> None:
    here = re.compile(rf"(?<![\w.~$}})/-]){re.escape(place.rstrip('/'))}/")
    assert [name for name, text in texts() if here.search(text)] == []


def test_no_package_registry_of_this_machine_in_git() -> None:
    hosts = hosts_of_this_machine()
    assert [(name, host) for name, text in texts() for host in hosts if host in text] == []


@pytest.mark.parametrize("line", ["-i https://x.example.org/simple", "--index-url https://a", "--find-links /wheels",
                                  "  --extra-index-url b", "pkg @ file:///wheels/pkg.whl"])  # fmt: skip
def test_the_guard_sees_addresses_in_locks(line: str) -> None:
    assert ADDRESS_IN_LOCK.search(f"idna==3.20 \\\n    --hash=sha256:00\n{line}\n")
