"""The driver of the test hosts: what everything else that boots a host relies on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from testbed import cgroup, host, network, serve
from testbed.host import Host
from testbed.settings import SUITES

JOURNAL = "journalctl --list-boots --quiet --output=json"


@pytest.fixture(scope="module")
def both() -> Iterator[dict[str, Host]]:
    """A host of each suite, started at the same time."""
    with ThreadPoolExecutor() as pool:
        started = pool.map(lambda suite: host.up(f"test-{suite}", suite, warm=True), SUITES)
        yield dict(zip(SUITES, started, strict=True))
    for suite in SUITES:
        host.down(f"test-{suite}")


def traces(gone: Host) -> list[str]:
    """What this machine still has of a host."""
    found = {
        "processes": gone.is_alive(),
        "cgroup": gone.cgroup in cgroup.names(),
        "network namespace": gone.name in network.namespaces(),
        "interface": f"farrier{gone.address.rpartition('.')[2]}" in subprocess.getoutput("ip -brief link"),
        "files": gone.folder.exists(),
        "mounts": str(gone.folder) in subprocess.getoutput("cat /proc/*/mounts"),
    }
    return [name for name, there in found.items() if there]


@pytest.mark.parametrize("suite", SUITES)
def test_host_is_a_debian_of_that_suite_with_systemd_running(both: dict[str, Host], suite: str) -> None:
    assert f"VERSION_CODENAME={suite}" in both[suite].run("cat /etc/os-release").stdout
    assert both[suite].run("systemctl is-system-running").stdout.strip() == "running"


@pytest.mark.parametrize("suite", SUITES)
def test_host_is_named_and_has_its_own_machine_id(both: dict[str, Host], suite: str) -> None:
    assert both[suite].run("hostname").stdout.strip() == f"test-{suite}"
    ids = {each.run("cat /etc/machine-id").stdout for each in both.values()}
    assert len(ids) == len(both)


@pytest.mark.parametrize("suite", SUITES)
def test_host_sees_a_cgroup_tree_and_processes_of_its_own(both: dict[str, Host], suite: str) -> None:
    assert both[suite].run("stat -f -c %T /sys/fs/cgroup").stdout.strip() == "cgroup2fs"
    assert both[suite].run("ps -e -o comm= | grep -c systemd-nspawn").stdout.strip() == "0"
    assert both[suite].run("ls /sys/fs/cgroup | grep -c farrier").stdout.strip() == "0"


@pytest.mark.parametrize("suite", SUITES)
def test_host_reaches_the_package_archive_and_trusts_the_extra_certificates(both: dict[str, Host], suite: str) -> None:
    update = both[suite].run("apt-get update -qq && apt-cache policy hello | grep -q Candidate")
    assert update.returncode == 0, update.stderr
    trusted = both[suite].run("cat /etc/ssl/certs/ca-certificates.crt").stdout
    extra = sorted(Path("/usr/local/share/ca-certificates").glob("*.crt"))
    assert [path.name for path in extra if path.read_text().strip() not in trusted] == []


@pytest.mark.parametrize("suite", SUITES)
def test_warm_host_runs_none_of_the_packages_that_the_roles_manage(both: dict[str, Host], suite: str) -> None:
    assert both[suite].run("systemctl is-active caddy redis-server").stdout.split() == ["inactive", "inactive"]
    assert both[suite].run("systemctl is-enabled caddy redis-server").stdout.split() == ["disabled", "disabled"]


@pytest.mark.parametrize("suite", SUITES)
def test_reboot_brings_the_host_back_with_its_files(both: dict[str, Host], suite: str) -> None:
    booted = both[suite]
    before = boots(booted)
    booted.run("echo kept >/srv/kept; systemctl reboot")
    deadline = time.monotonic() + 30
    while not boots(booted) > before and time.monotonic() < deadline:
        time.sleep(0.1)
    host.await_running(booted)
    assert boots(booted) > before
    assert booted.run("cat /srv/kept").stdout == "kept\n"


def boots(booted: Host) -> set[str]:
    """Boot ids in the host's journal; none while it does not answer."""
    listing = booted.run(JOURNAL).stdout
    return {boot["boot_id"] for boot in json.loads(listing)} if listing.startswith("[") else set()


def test_two_hosts_have_different_addresses_and_reach_each_other(both: dict[str, Host]) -> None:
    one, other = both.values()
    assert one.address != other.address
    answer = one.run(f"timeout 30 bash -c 'head -c 7 </dev/tcp/{other.address}/22'")
    assert answer.stdout == "SSH-2.0"


def test_host_reads_what_the_controller_serves(both: dict[str, Host], tmp_path: Path) -> None:
    (tmp_path / "greeting").write_text("hello\n")
    port = 8699
    try:
        url = serve.serve(tmp_path, port)
        assert serve.serve(tmp_path, port) == url
        assert both["bookworm"].run(f"curl -sS {url}/greeting").stdout == "hello\n"
    finally:
        serve.stop(port)
    assert both["bookworm"].run(f"curl -sS {url}/greeting").returncode == 7


def test_down_leaves_nothing_and_may_be_repeated() -> None:
    gone = host.up("test-down", "bookworm", warm=True)
    host.down(gone.name)
    assert traces(gone) == []
    host.down(gone.name)


def test_killed_launcher_takes_its_host_along_and_gc_removes_the_rest() -> None:
    killed = host.up("test-killed", "bookworm", warm=True)
    for pid in cgroup.processes(cgroup.root() / killed.cgroup / "launcher"):
        os.kill(pid, signal.SIGKILL)
    cgroup.await_end(killed.cgroup)
    assert killed.name in host.collect()
    assert traces(killed) == []


def test_gc_spares_hosts_that_run(both: dict[str, Host]) -> None:
    host.collect()
    assert all(each.is_alive() for each in both.values())


def test_up_replaces_a_host_of_that_name(both: dict[str, Host]) -> None:
    del both
    first = host.up("test-again", "bookworm", warm=True)
    first.run("touch /srv/old")
    try:
        second = host.up("test-again", "bookworm", warm=True)
        assert second.run("ls /srv").stdout == ""
        kept = host.up("test-again", "bookworm", warm=True, reuse=True)
        assert kept == second
    finally:
        host.down("test-again")
