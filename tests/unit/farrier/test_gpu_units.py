"""The unit files of services that have GPU cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from farrier.plan.model import StackPlan
from farrier.render import release_files

TEMPLATES = Path(__file__).parents[3] / "systemd"
GPUS = [
    {"pci": f"0000:{bus}:00.0", "model": "Tesla T4", "memory": "15G", "capability": "7.5", "minor": minor}
    for bus, minor in (("3b", 1), ("af", 0))
]


@pytest.fixture
def with_gpus(jobs: str) -> str:
    """A stack whose worker, of two instances, and whose web service have cards."""
    return jobs.replace("replicas: 2", "replicas: 2, gpus: {count: 1, memory: 8G}").replace(
        "routes:", "gpus: {count: all, memory: 1G}, routes:"
    )


def rendered(repository: Any, text: str) -> tuple[StackPlan, dict[str, str]]:
    repository.stack("knee", text)
    (stack,) = repository.plan("knee", farrier_gpus=GPUS).stacks
    return stack, release_files(stack, TEMPLATES)


def settings(unit: str, name: str) -> list[str]:
    lines = unit.replace("\\\n", "").splitlines()
    return [" ".join(line.removeprefix(f"{name}=").split()) for line in lines if line.startswith(f"{name}=")]


def test_an_instance_has_a_file_and_devices_of_its_own(repository: Any, with_gpus: str) -> None:
    stack, files = rendered(repository, with_gpus)
    assert [unit.starts for unit in stack.units if unit.service == "worker"] == [
        ("knee-worker@0.service",),
        ("knee-worker@1.service",),
    ]
    seen = [settings(files[f"units/knee-worker@{each}.service"], "DeviceAllow")[0] for each in (0, 1)]
    assert seen == ["/dev/nvidia0 rw", "/dev/nvidia1 rw"]
    assert "units/knee-worker@.service" not in files


def test_a_unit_sees_exactly_its_cards_and_is_checked_before_it_starts(repository: Any, with_gpus: str) -> None:
    unit = rendered(repository, with_gpus)[1]["units/knee-worker@1.service"]
    assert settings(unit, "PrivateDevices") == []
    assert settings(unit, "DevicePolicy") == ["closed"]
    assert settings(unit, "DeviceAllow") == [
        f"/dev/{device} rw" for device in ("nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")
    ]
    assert "farrier-gpus.service nvidia-persistenced.service" in settings(unit, "After")
    assert settings(unit, "SupplementaryGroups") == ["farrier-gpu"]
    check = "+/usr/local/sbin/farrier-gpus check --unit %n --card 0=0000:3b:00.0"
    assert settings(unit, "ExecStartPre") == [check]
    assert settings(unit, "EnvironmentFile") == ["-/run/farrier/gpu/knee-worker@1.service.env"]
    assert {"FARRIER_GPU_CARDS=0", f"FARRIER_GPU_MEMORY={8 * 2**30}"} <= set(settings(unit, "Environment"))
    assert "-/run/farrier/gpu/card-0" in settings(unit, "ReadWritePaths")


def test_a_whole_card_names_no_memory(repository: Any, jobs: str) -> None:
    unit = rendered(repository, jobs.replace("replicas: 2", "gpus: all"))[1]["units/knee-worker@0.service"]
    assert {"FARRIER_GPU_CARDS=0,1", "FARRIER_GPU_MEMORY="} <= set(settings(unit, "Environment"))
    (check,) = settings(unit, "ExecStartPre")
    assert check.endswith("--card 0=0000:3b:00.0 --card 1=0000:af:00.0")


def test_a_web_service_with_cards_restarts_in_its_place(repository: Any, with_gpus: str) -> None:
    """A second generation beside it would want the same cards."""
    stack, files = rendered(repository, with_gpus)
    assert {unit.change for unit in stack.units if unit.service == "web"} == {"restart"}
    assert (stack.bridges, len(stack.gates)) == ((), 1)
    assert settings(files["units/knee-web.service"], "MemoryDenyWriteExecute") == []
    assert settings(files["units/knee-web.service"], "ProcSubset") == []


def test_adding_a_replica_leaves_the_other_instances_files_as_they_are(repository: Any, with_gpus: str) -> None:
    text = with_gpus.replace("memory: 8G", "memory: 5G")
    before, after = (rendered(repository, each)[1] for each in (text, text.replace("replicas: 2", "replicas: 3")))
    assert {name for name in after if before.get(name) != after[name]} == {"plan.json", "units/knee-worker@2.service"}


def test_a_web_service_knows_the_stacks_cards_for_its_readiness(repository: Any, jobs: str) -> None:
    with_cards = jobs.replace("replicas: 2", "gpus: all")
    for text, told in ((with_cards, ["FARRIER_STACK_GPUS=0,1"]), (jobs, [])):
        unit = rendered(repository, text)[1]["units/knee-web.service"]
        assert [each for each in settings(unit, "Environment") if each.startswith("FARRIER_STACK_GPUS")] == told


def test_cards_are_the_plans_to_name(repository: Any, jobs: str) -> None:
    repository.stack("knee", jobs + "environment: {FARRIER_GPU_CARDS: '7'}\n")
    assert "FARRIER_GPU_CARDS is Farrier's own to set" in repository.problems("knee")[0]
