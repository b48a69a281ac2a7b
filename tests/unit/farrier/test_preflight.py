"""What stands in the way on a host, each finding with its remedy."""

from __future__ import annotations

from typing import Any

import pytest

from farrier.plan.model import Plan
from farrier.preflight import HostState, Limits, findings

GIB = 2**30
LIMITS = Limits(tolerance=0.07, systems={"debian": ["12", "13"]})


@pytest.fixture
def plan(repository: Any, jobs: str) -> Plan:
    repository.stack("knee", jobs.replace("queues: [fast", "limits: {memory: 7G}, queues: [fast"))
    made: Plan = repository.plan("knee")
    return made


def state(**changes: Any) -> HostState:
    disk = {"free": 50 * GIB, "total": 100 * GIB, "device": 1}
    facts: dict[str, Any] = {
        "os": {"id": "debian", "version_id": "12", "pretty_name": "Debian 12", "machine": "x86_64"},
        "memory": 32 * GIB,
        "disks": {folder: dict(disk) for folder in ("/opt/farrier", "/var/lib/farrier", "/srv/models")},
        "listeners": [],
        "packages": {},
        "users": {"knee": None},
        "units": {},
        "envs": [],
        "models": [],
        "live": {},
        "caddyfile": None,
    }
    return HostState.model_validate(facts | changes)


def test_a_fit_host_has_no_findings(plan: Plan) -> None:
    assert findings(plan, state(), LIMITS) == []


def test_a_taken_port_names_process_and_owner(plan: Plan) -> None:
    listener = {"address": "::", "port": 443, "pid": 812, "process": "nginx", "user": "www", "unit": "nginx.service"}
    (finding,) = findings(plan, state(listeners=[listener, listener]), LIMITS)
    assert finding.startswith("port 443 is taken by nginx (PID 812, user www, unit nginx.service)")


def test_our_own_front_door_is_not_in_the_way(plan: Plan) -> None:
    listener = {"address": "::", "port": 443, "pid": 1, "process": "caddy", "user": "caddy", "unit": "caddy.service"}
    assert findings(plan, state(listeners=[listener]), LIMITS) == []


@pytest.mark.parametrize(("memory", "fits"), [(14.3, True), (13.8, True), (13.2, False)])
def test_memory_may_fall_short_by_the_tolerance(plan: Plan, memory: float, fits: bool) -> None:
    assert plan.memory == pytest.approx(14.6 * GIB, rel=0.02)
    assert (findings(plan, state(memory=int(memory * GIB)), LIMITS) == []) is fits


def test_folders_on_one_disk_share_its_room(plan: Plan) -> None:
    disks = {
        folder: {"free": int(1.2 * GIB), "total": 9 * GIB, "device": 1}
        for folder in ("/opt/farrier", "/var/lib/farrier", "/srv/models")
    }
    (finding,) = findings(plan, state(disks=disks), LIMITS)
    assert finding.startswith("disk: 1.59 GiB are needed (/opt/farrier 600 MiB, /var/lib/farrier 1 GiB)")


def test_what_is_installed_needs_no_room_again(plan: Plan) -> None:
    disks = {
        folder: {"free": int(1.2 * GIB), "total": 9 * GIB, "device": 1}
        for folder in ("/opt/farrier", "/var/lib/farrier", "/srv/models")
    }
    assert findings(plan, state(disks=disks, envs=[plan.envs[0].prefix]), LIMITS) == []
    assert findings(plan, state(disks=disks, live={"knee": "1"}), LIMITS) == []


def test_names_of_others_are_not_taken(plan: Plan) -> None:
    users = {"knee": {"uid": 1000, "comment": "Somebody", "home": "/home/knee"}}
    units = {"knee-web.service": "[Unit]"}
    told = findings(plan, state(users=users, units=units), LIMITS)
    assert [finding.split(" exists")[0] for finding in told] == ["user 'knee'", "unit knee-web.service"]


def test_our_own_names_are_fine(plan: Plan) -> None:
    users = {"knee": {"uid": 990, "comment": "Farrier stack knee", "home": "/var/lib/farrier/knee"}}
    units = {"knee-web.service": "# Farrier: stack knee. Written by farrier-release; the next release replaces it."}
    assert findings(plan, state(users=users, units=units), LIMITS) == []


def test_a_foreign_caddyfile_is_not_overwritten(plan: Plan) -> None:
    (finding,) = findings(plan, state(caddyfile="example.org {"), LIMITS)
    assert "Caddyfile is somebody's own" in finding


def test_all_findings_come_at_once(plan: Plan) -> None:
    system = {"id": "fedora", "version_id": "44", "pretty_name": "Fedora 44", "machine": "aarch64"}
    told = findings(plan, state(os=system, memory=GIB, caddyfile="x"), LIMITS)
    assert len(told) == 4
