"""Testinfra's tests of a host that carries the stack `hello`; when one fails, the journal says why."""

from __future__ import annotations

import ssl
from collections.abc import Generator, Iterator

import httpx
import pytest
from testinfra.host import Host

CA = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"
UNITS = "hello.target hello-*.service hello-*.socket caddy.service"
_failed = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember that something failed."""
    global _failed  # noqa: PLW0603 - pytest's hooks have no other place to keep it
    report = yield
    _failed = _failed or report.failed
    return report


@pytest.fixture(scope="module", autouse=True)
def journal(host: Host) -> Iterator[None]:
    """Print the state and the journal of the units after failures."""
    yield
    if _failed:
        print(host.run(f"systemctl --no-pager --lines=0 status {UNITS}").stdout)
        print(host.run("journalctl --no-pager --lines=80 -u 'hello*' -u caddy -u 'farrier*'").stdout)


@pytest.fixture(scope="module")
def address(host: Host) -> str:
    """The host's address in the test network, which is also its name at the front door."""
    return str(host.ansible.get_variables()["ansible_host"])


@pytest.fixture(scope="module")
def browser(host: Host) -> Iterator[httpx.Client]:
    """A client on the controller that trusts the host's own CA and nothing else."""
    trust = ssl.create_default_context(cadata=host.file(CA).content_string)
    with httpx.Client(verify=trust, follow_redirects=False, timeout=10) as client:
        yield client
