"""Changing one pin of an env's lock: a prefix beside the old one, with the same files where they did not change."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest

from farrier.conda.python_packages import Resolver

from .conftest import HELLO, Host, Json

_WRITTEN = {"RECORD", "INSTALLER", "REQUESTED", ".ready", "CACHEDIR.TAG"}  # for every prefix anew, as conda-meta


def with_click(version: str) -> str:
    """The pip lock of hello's env with another pin for click."""
    hashed = Resolver("3.11").lock("click", [f"click=={version}"])
    return re.sub(r"^click==.*?(?=^\S|\Z)", hashed, (HELLO / "web.txt").read_text(), flags=re.MULTILINE | re.DOTALL)


def files(prefix: str) -> dict[str, Path]:
    """The files of packages; what Python compiled from them names its own prefix."""
    found = (path for path in Path(prefix).rglob("*") if path.is_file() and not path.is_symlink())
    return {
        str(path.relative_to(prefix)): path
        for path in found
        if path.name not in _WRITTEN and path.suffix != ".pyc" and path.parent.name != "conda-meta"
    }


def click(env: Json) -> str:
    program = "import click, importlib.metadata as m; print(m.version('click'))"
    done = subprocess.run(
        [f"{env['prefix']}/bin/python", "-I", "-c", program], check=True, text=True, capture_output=True
    )
    return done.stdout.strip()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_changed_pin_makes_a_prefix_that_shares_all_other_files(host: Host, python_lock: str, mirror: str) -> None:
    old = host.env("web-0", python_lock, (HELLO / "web.txt").read_text())
    new = host.env("web-1", python_lock, with_click("8.1.8"))
    started = time.monotonic()
    assert host.state(old, mirror) == "built"
    first = time.monotonic() - started
    before = {name: (path.stat().st_ino, path.stat().st_mtime_ns) for name, path in files(old["prefix"]).items()}

    started = time.monotonic()
    assert host.state(new, mirror) == "built"
    second = time.monotonic() - started
    print(f"first {first:.1f} s, second {second:.1f} s")
    assert second < max(2 * first, 20)  # most of it compiles Python files, of which each names its prefix

    then, now = files(old["prefix"]), files(new["prefix"])
    unchanged = [name for name in then.keys() & now.keys() if then[name].read_bytes() == now[name].read_bytes()]
    assert [name for name in unchanged if "/click/" not in name and not then[name].samefile(now[name])] == []
    # Besides click itself only what has the prefix written into it is another file.
    assert len(unchanged) > 500
    others = [name for name in then.keys() | now.keys() if name not in unchanged and "/click" not in name]
    assert [name for name in others if new["prefix"].encode() not in now[name].read_bytes()] == []

    assert {name: (path.stat().st_ino, path.stat().st_mtime_ns) for name, path in then.items()} == before
    assert (click(old), click(new)) == ("8.5.1", "8.1.8")
    assert host.state(old, mirror, depth="full") == "present"
