"""Read this machine's apt sources, so that hosts install from the same archive. Pure but for `read_sources`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from testbed.shell import DriverError

POCKETS = ("", "-updates", "-security")


@dataclass(frozen=True)
class Source:
    """One archive, suite and its components, as in a line of sources.list."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""
    trusted: bool = False


def parse_deb822(text: str) -> list[Source]:
    """Binary sources of a `.sources` file; disabled stanzas are left out."""
    return [
        source for stanza in re.split(r"\n\s*\n", _without_comments(text)) for source in _from_stanza(_fields(stanza))
    ]


def parse_list(text: str) -> list[Source]:
    """Binary sources of a one-line-style `.list` file."""
    pattern = re.compile(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*(?P<components>.*)")
    found = (pattern.fullmatch(line.split("#")[0].strip()) for line in text.splitlines())
    return [_from_match(match) for match in found if match]


def for_suite(sources: list[Source], own: str, wanted: str) -> list[str]:
    """Lines of sources.list for the suite `wanted`, from the Debian archives that `sources` name for the suite `own`.

    Third-party archives (another keyring, another suite) are left out. Raises DriverError without any Debian archive.
    """
    lines = [_line(source, wanted + source.suite.removeprefix(own)) for source in sources if _is_debian(source, own)]
    if not lines:
        raise DriverError(
            f"apt on this machine has no sources for Debian {own}: add them under /etc/apt/sources.list.d/"
        )
    return list(dict.fromkeys(lines))


def read_sources(folder: Path = Path("/etc/apt")) -> list[Source]:
    """All binary sources that apt on this machine uses."""
    return [source for path in _files(folder) for source in _parse(path)]


def codename(os_release: Path = Path("/etc/os-release")) -> str:
    """The machine's own suite, for example `bookworm`; empty when it does not say."""
    found = re.search(r"^VERSION_CODENAME=\"?(\w+)", os_release.read_text(), re.MULTILINE)
    return found[1] if found else ""


def _files(folder: Path) -> list[Path]:
    parts = folder / "sources.list.d"
    return [path for path in (folder / "sources.list", *sorted(parts.glob("*"))) if path.is_file()]


def _parse(path: Path) -> list[Source]:
    if path.suffix == ".sources":
        return parse_deb822(path.read_text())
    return parse_list(path.read_text()) if path.suffix == ".list" else []


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


def _fields(stanza: str) -> dict[str, str]:
    fields = re.findall(r"^([\w-]+):[ \t]*(.*(?:\n[ \t]+.*)*)", stanza, re.MULTILINE)
    return {name.lower(): value.strip() for name, value in fields}


def _from_stanza(fields: dict[str, str]) -> Iterator[Source]:
    if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
        return
    components = tuple(fields.get("components", "").split())
    for uri, suite in product(fields.get("uris", "").split(), fields.get("suites", "").split()):
        yield Source(uri, suite, components, fields.get("signed-by", ""), fields.get("trusted", "no").lower() == "yes")


def _from_match(match: re.Match[str]) -> Source:
    options = dict(option.split("=", 1) for option in (match["options"] or "").split() if "=" in option)
    components = tuple(match["components"].split())
    return Source(
        match["uri"], match["suite"], components, options.get("signed-by", ""), options.get("trusted") == "yes"
    )


def _is_debian(source: Source, own: str) -> bool:
    foreign_key = source.signed_by != "" and "debian-archive-" not in source.signed_by
    return source.suite in [own + pocket for pocket in POCKETS] and "main" in source.components and not foreign_key


def _line(source: Source, suite: str) -> str:
    return f"deb {'[trusted=yes] ' if source.trusted else ''}{source.uri} {suite} main"
