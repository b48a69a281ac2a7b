"""What stands in the way on a host, each finding with its remedy."""

from __future__ import annotations

from typing import Any

import pytest
from ruamel.yaml import YAML

from farrier.plan.model import Plan
from farrier.preflight import HostState, Limits, findings, warnings

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


def found(*cards: tuple[str, str]) -> dict[str, Any]:
    """What the probe says of a machine with these NVIDIA cards, and a display of another make."""
    display = {"pci": "0000:00:02.0", "vendor": "0x1002", "device": "0x73bf", "class": "0x030000"}
    ours = [{"pci": pci, "vendor": "0x10de", "device": device, "class": "0x030200"} for pci, device in cards]
    return {"cards": [display, *ours], "driver": None}


T4 = ("0000:3b:00.0", "0x1eb8")
DECLARED = {"pci": "0000:3b:00.0", "model": "Tesla T4", "memory": "15000M", "capability": "7.5", "owner": "the LLM's"}


def with_cards(repository: Any, small: str, *cards: dict[str, Any]) -> Plan:
    repository.stack("knee", small)
    made: Plan = repository.plan("knee", farrier_gpus=list(cards))
    return made


def test_declared_cards_that_are_there_are_in_order(repository: Any, small: str) -> None:
    assert findings(with_cards(repository, small, DECLARED), state(gpu=found(T4)), LIMITS) == []


def test_cards_of_a_host_that_declares_none_are_nobodys_business(repository: Any, small: str) -> None:
    plan = with_cards(repository, small)
    assert (findings(plan, state(gpu=found(T4)), LIMITS), warnings(plan, state(gpu=found(T4)))) == ([], [])


def test_another_card_that_is_there_is_told_with_the_lines_to_write(repository: Any, small: str) -> None:
    more = found(T4, ("0000:af:00.0", "0x1b02"), ("0000:d8:00.0", "0x9999"))
    (finding,) = findings(with_cards(repository, small, DECLARED), state(gpu=more), LIMITS)
    assert finding == (
        "TITAN Xp at 0000:af:00.0 is not declared; a card with the device id 0x9999 at 0000:d8:00.0 is not declared; "
        "write into the inventory variables of pegasus:\n"
        "      farrier_gpus:\n"
        '        - {pci: "0000:3b:00.0", model: Tesla T4, memory: 15000M, capability: "7.5", owner: "the LLM\'s"}\n'
        '        - {pci: "0000:af:00.0", model: TITAN Xp, memory: 11G, capability: "6.1"}\n'
        '        - {pci: "0000:d8:00.0", model: a card with the device id 0x9999, memory: …, capability: "…"}'
        "  # fill in: nvidia-smi --query-gpu=name,memory.total,compute_cap --format=csv"
    )


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"pci": "0000:af:00.0"}, "GPU 0 (Tesla T4) is not at 0000:af:00.0; find out which card is the LLM's now; "),
        ({"capability": "8.0"}, "GPU 0 (Tesla T4) has capability 7.5, not 8.0: at 0000:3b:00.0 is a Tesla T4; "),
        ({"memory": "16G"}, "GPU 0 (Tesla T4) has 15 GiB, not 16 GiB; "),
    ],
)
def test_a_card_that_is_not_as_declared_is_refused(
    repository: Any, small: str, declared: dict[str, str], said: str
) -> None:
    (finding,) = findings(with_cards(repository, small, DECLARED | declared), state(gpu=found(T4)), LIMITS)
    assert finding.startswith(said)
    assert '- {pci: "0000:3b:00.0", model: Tesla T4, memory: 14G, capability: "7.5"' in finding


def test_a_host_that_lost_its_cards_is_told_so(repository: Any, small: str) -> None:
    (finding,) = findings(with_cards(repository, small, DECLARED), state(gpu=found()), LIMITS)
    assert finding.endswith("inventory variables of pegasus:\n      farrier_gpus: []")


def test_the_lines_to_write_are_right_when_they_are_written(repository: Any, jobs: str) -> None:
    machine = state(gpu=found(T4, ("0000:af:00.0", "0x20b5")))
    repository.stack("knee", jobs.replace("replicas: 2", "gpus: {without: cpu}"))
    (warning,) = warnings(repository.plan("knee"), machine)
    assert "so these do without: knee worker. To give the cards to stacks, write into its inventory" in warning
    written = YAML(typ="safe").load(warning.partition("variables:")[2])
    plan = repository.plan("knee", **written)
    assert [(card.model, card.memory // GIB, card.capability) for card in plan.gpus] == [
        ("Tesla T4", 14, "7.5"),
        ("A100 PCIe 80GB", 79, "8.0"),
    ]
    assert (findings(plan, machine, LIMITS), warnings(plan, machine)) == ([], [])
