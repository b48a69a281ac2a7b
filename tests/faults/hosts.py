"""Faults of the test hosts themselves: a test that leaves something behind spoils the next one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

from testbed import cgroup, host, network
from tests.harness import Observation


def launcher_killed() -> Iterator[Observation]:
    """SIGKILL to all processes that started the host, then `gc`."""
    name = "fault-launcher"
    booted = host.up(name, "bookworm", warm=True)
    for pid in cgroup.processes(cgroup.root() / booted.cgroup / "launcher"):
        os.kill(pid, signal.SIGKILL)
    cgroup.await_end(booted.cgroup)
    host.collect()
    left = what_is_left(booted)
    yield Observation(
        fault="kill -9 of a test host's launcher",
        promise="its processes end with it, and gc removes cgroup, namespace and files",
        observed=", ".join(left) or "nothing is left",
        ok=not left,
    )


def what_is_left(gone: host.Host) -> list[str]:
    """Traces on this machine of a host that should be gone."""
    traces = {
        "processes": gone.is_alive(),
        "cgroup": gone.cgroup in cgroup.names(),
        "network namespace": gone.name in network.namespaces(),
        "files": gone.folder.exists(),
    }
    return [trace for trace, there in traces.items() if there]


RUN = [launcher_killed]
