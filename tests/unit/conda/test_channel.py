from __future__ import annotations

import os
from pathlib import Path

import pytest

from testbed.channel import pack
from testbed.channel.apt import ChannelError
from testbed.channel.build import build, build_hash, python_version
from testbed.channel.relocate import PLACEHOLDER, edit, with_placeholder
from testbed.channel.unfreeze import unfreeze_site


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("prefix", "/usr", PLACEHOLDER),
        ("LIBDIR", "/usr/lib/x86_64-linux-gnu", f"{PLACEHOLDER}/lib"),
        ("TZPATH", "/usr/share/zoneinfo", "/usr/share/zoneinfo"),
        ("INSTALL", "/usr/bin/install -c", "/usr/bin/install -c"),
        ("CC", "x86_64-linux-gnu-gcc", "x86_64-linux-gnu-gcc"),
        ("HAVE_FORK", 1, 1),
    ],
)
def test_only_the_interpreters_own_folders_move(key: str, value: str | int, expected: str | int) -> None:
    assert with_placeholder(key, value) == expected


def test_a_new_debian_patch_stops_the_build(tmp_path: Path) -> None:
    file = tmp_path / "site.py"
    file.write_text("nothing to find here\n")
    with pytest.raises(ChannelError, match=r"site\.py: 0 matches .* Debian changed its patch"):
        edit(file, (("dist-packages", "site-packages"),))


def test_another_binary_stops_the_build(tmp_path: Path) -> None:
    copy = tmp_path / "true"
    copy.write_bytes(Path("/bin/true").read_bytes())
    with pytest.raises(ChannelError, match="true: 0 entries for `site`"):
        unfreeze_site(copy)


def test_version_is_pythons_not_debians() -> None:
    assert python_version("python3.11-minimal_3.11.2-6+deb12u9_amd64.deb SHA256:0") == "3.11.2"


def test_another_deb_makes_another_build() -> None:
    inputs = {"debs": {"a": "a_1", "b": "b_1"}, "tools": {}, "sources": ""}
    newer = {**inputs, "debs": {"a": "a_1", "b": "b_2"}}
    assert build_hash(inputs, ("b",)) != build_hash(newer, ("b",))
    assert build_hash(inputs, ("a",)) == build_hash(newer, ("a",))


def test_equal_files_make_equal_packages(tmp_path: Path) -> None:
    package = pack.Package(name="a", version="1", build="0", depends=[])
    entries = []
    for place, umask in (("one", 0o022), ("two", 0o077)):
        old = os.umask(umask)
        files = tmp_path / place / "files"
        (files / "bin").mkdir(parents=True)
        (files / "bin" / "a").write_text("#!/bin/sh\n")
        (files / "bin" / "b").symlink_to("a")
        os.umask(old)
        entries.append(pack.write_package(tmp_path / place, files, package))
    assert entries[0] == entries[1]


def test_second_build_changes_nothing(channel: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in channel.rglob("*")}
    assert build(channel.parent, print) is False
    assert {path: path.stat().st_mtime_ns for path in channel.rglob("*")} == before


@pytest.mark.slow
def test_a_build_elsewhere_has_the_same_bytes(channel: Path, tmp_path: Path) -> None:
    assert build(tmp_path, print) is True
    for path in channel.rglob("*"):
        if path.is_file():
            assert (tmp_path / "channel" / path.relative_to(channel)).read_bytes() == path.read_bytes()
