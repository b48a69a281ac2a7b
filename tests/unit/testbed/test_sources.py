from __future__ import annotations

from pathlib import Path

import pytest

from testbed.shell import DriverError
from testbed.sources import Source, codename, for_suite, parse_deb822, parse_list, read_sources

DEB822 = """\
# a comment
Types: deb deb-src
# snapshot
URIs: http://mirror.example.org/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example.org/debian-security
Suites: bookworm-security
Components: main
Signed-By:
 /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
Enabled: no
URIs: http://off.example.org/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.example.org/debian
Suites: bookworm
Components: main
"""


def test_deb822_stanza_becomes_one_source_per_uri_and_suite() -> None:
    found = parse_deb822(DEB822)
    assert [(source.uri, source.suite) for source in found] == [
        ("http://mirror.example.org/debian", "bookworm"),
        ("http://mirror.example.org/debian", "bookworm-updates"),
        ("http://mirror.example.org/debian-security", "bookworm-security"),
    ]
    assert found[0].components == ("main", "contrib")
    assert found[2].signed_by == "/usr/share/keyrings/debian-archive-keyring.gpg"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "deb http://m.example.org/debian bookworm main",
            [Source("http://m.example.org/debian", "bookworm", ("main",))],
        ),
        ("  deb http://m.example.org/ bookworm main # ours", [Source("http://m.example.org/", "bookworm", ("main",))]),
        (
            "deb [arch=amd64 trusted=yes signed-by=/k.gpg] http://m.example.org/ bookworm main contrib",
            [Source("http://m.example.org/", "bookworm", ("main", "contrib"), "/k.gpg", trusted=True)],
        ),
        ("deb-src http://m.example.org/debian bookworm main", []),
        ("# deb http://m.example.org/debian bookworm main", []),
        ("", []),
    ],
)
def test_one_line_source(line: str, expected: list[Source]) -> None:
    assert parse_list(line) == expected


def test_hosts_of_another_suite_use_the_same_archive() -> None:
    assert for_suite(parse_deb822(DEB822), "bookworm", "trixie") == [
        "deb http://mirror.example.org/debian trixie main",
        "deb http://mirror.example.org/debian trixie-updates main",
        "deb http://mirror.example.org/debian-security trixie-security main",
    ]


@pytest.mark.parametrize(
    "foreign",
    [
        Source("https://tool.example.org/apt", "tool-bookworm", ("main",)),
        Source("https://tool.example.org/apt", "bookworm-tool", ("main",)),
        Source("https://tool.example.org/apt", "bookworm", ("stable",)),
        Source("https://tool.example.org/apt", "bookworm", ("main",), "/usr/share/keyrings/tool.gpg"),
        Source("http://mirror.example.org/debian", "bookworm-backports", ("main",)),
    ],
)
def test_third_party_archives_stay_out_of_hosts(foreign: Source) -> None:
    own = Source("http://mirror.example.org/debian", "bookworm", ("main",))
    assert for_suite([foreign, own], "bookworm", "bookworm") == ["deb http://mirror.example.org/debian bookworm main"]


def test_a_machine_without_debian_sources_is_told() -> None:
    with pytest.raises(DriverError, match="no sources for Debian bookworm"):
        for_suite([], "bookworm", "bookworm")


def test_trusted_mirror_and_duplicates() -> None:
    mirror = Source("http://m.example.org/debian", "trixie", ("main",), trusted=True)
    assert for_suite([mirror, mirror], "trixie", "bookworm") == [
        "deb [trusted=yes] http://m.example.org/debian bookworm main"
    ]


def test_both_file_formats_are_read(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text("deb http://one.example.org/ bookworm main\n")
    (parts / "a.sources").write_text("Types: deb\nURIs: http://two.example.org/\nSuites: bookworm\nComponents: main\n")
    (parts / "b.list").write_text("deb http://three.example.org/ bookworm main\n")
    (parts / "c.list.bak").write_text("deb http://never.example.org/ bookworm main\n")
    names = [source.uri.split("/")[2].split(".")[0] for source in read_sources(tmp_path)]
    assert names == ["one", "two", "three"]


def test_codename_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text('ID=debian\nVERSION_CODENAME="trixie"\n')
    assert codename(tmp_path / "os-release") == "trixie"
