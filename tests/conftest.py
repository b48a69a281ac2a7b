"""Fixtures for booted hosts; the order of the parts and the time of each."""

from __future__ import annotations

import os
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from testbed import host
from testbed.host import Host

ROOT = Path(__file__).parents[1]
PARTS = ("unit", "hosts", "e2e")  # quick ones first: what they find need not be waited for
_seconds: defaultdict[str, float] = defaultdict(float)
_broken: set[str] = set()


class Boot(Protocol):
    """Boots a host of that name anew; it is removed at the end of the session."""

    def __call__(self, name: str, suite: str = "bookworm", *, warm: bool = True) -> Host: ...


@pytest.fixture(scope="session")
def prepared(pytestconfig: pytest.Config) -> None:
    """Images, local conda channel (served to the hosts) and locks are there; made with visible progress if not."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        print(flush=True)
        subprocess.run(["make", "prepare"], cwd=ROOT, check=True)


@pytest.fixture(scope="session")
def boot() -> Iterator[Boot]:
    """Factory of hosts for end-to-end tests: `host = boot("test-knee")`, then `host.address`, `host.run("id")`."""
    names: list[str] = []

    def booted(name: str, suite: str = "bookworm", *, warm: bool = True) -> Host:
        names.append(name)
        return host.up(name, suite, warm=warm)

    yield booted
    for name in names:
        host.down(name)


def part_of(nodeid: str) -> str:
    """The part of the test suite that a test belongs to: the folder under tests/."""
    return nodeid.removeprefix("tests/").partition("/")[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick parts first."""
    items.sort(key=lambda item: PARTS.index(part_of(item.nodeid)) if part_of(item.nodeid) in PARTS else len(PARTS))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """When unit tests fail, nobody waits for hosts."""
    if part_of(item.nodeid) != "unit" and "unit" in _broken:
        item.session.shouldfail = "unit tests failed: tests on hosts were not started"
        pytest.skip("unit tests failed")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count time and failures per part."""
    _seconds[part_of(report.nodeid)] += report.duration
    if report.failed:
        _broken.add(part_of(report.nodeid))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The time of each part, above pytest's own last line; not of one part that ran in several processes."""
    if terminalreporter.config.getoption("numprocesses", None):
        return
    before = {"lint and types": "FARRIER_LINT_SECONDS", "unit": "FARRIER_UNIT_SECONDS"}
    times = {part: float(os.environ.get(variable, "0")) for part, variable in before.items()} | dict(_seconds)
    shown = [f"{part} {seconds:.0f} s" for part, seconds in times.items() if seconds]
    terminalreporter.write_line("time of each part: " + ", ".join(shown))
