"""What the role's tasks are handed: files, names, and whether anything is to be done at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from farrier.nvidia.host import declared, gpu_files
from farrier.nvidia.look import Look
from farrier.nvidia.task import Task
from farrier.plan.model import Front, GpuCard, HostPlan, Plan
from tests.unit.nvidia.machines import found, installed

ROOT = Path(__file__).parents[3]
CARD = GpuCard(index=0, pci="0000:3b:00.0", model="Tesla T4", memory=14 * 2**30, capability="7.5", minor=0)


def task(look: Look, *, declared: bool = True, **settings: Any) -> Task:
    state = {
        "gpu": look.model_dump(by_alias=True),
        "os": {"id": "debian", "version_id": "12", "version_codename": "bookworm", "machine": "x86_64"},
    }
    return Task({"state": state, "settings": settings, "gpus": [CARD.model_dump()] if declared else []})


def test_a_bare_host_is_handed_all_that_an_installation_needs(bare: Look) -> None:
    decided = task(bare).decided()
    assert (decided["install"], decided["ready"], decided["key"]) == (True, False, "")
    assert sorted(path.rpartition("/")[2] for path in decided["apt_files"]) == [
        "52farrier-nvidia", "farrier-nvidia.sources", "farrier.conf",
    ]  # fmt: skip
    assert "linux-headers-6.1.0-56-amd64" in decided["ask"]
    assert decided["hold"] == ["linux-image-amd64", "linux-headers-amd64"]


def test_a_host_that_leaves_kernels_to_apt_holds_none(bare: Look) -> None:
    assert task(bare, hold_kernel=False).decided()["hold"] == []


def test_nvidias_repository_comes_with_its_key(bare: Look) -> None:
    key = task(bare, provider="nvidia_repo").decided()["key"]
    assert key == "https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64/3bf863cc.pub"


NOT_READY: dict[str, dict[str, Any]] = {
    "persistence is off": {"persistent": False},
    "the libraries went on": {"persistent": True, "libraries": "535.261.03"},
    "a kernel came": {"persistent": True, "kernels": ["6.1.0-56-amd64", "6.1.0-57-amd64"]},
}


@pytest.mark.parametrize("changes", NOT_READY.values(), ids=NOT_READY)
def test_something_is_left_to_do(changes: dict[str, Any]) -> None:
    assert not task(found("one T4", **installed(**changes))).decided()["ready"]


def test_a_host_as_it_should_be_costs_no_more_tasks() -> None:
    decided = task(found("one T4", **installed(persistent=True))).decided()
    assert (decided["install"], decided["ready"]) == (False, True)


def test_a_host_whose_cards_are_not_ours_costs_no_more_tasks(bare: Look) -> None:
    assert task(bare, declared=False).decided() == {"install": False, "ready": True}


def test_a_reboot_is_left_only_where_it_is_allowed() -> None:
    look = found("one T4", **installed(libraries="535.261.03"))
    assert (task(look).left().reboot, task(look, reboot="auto").left().reboot) == (False, True)


def plan(*cards: GpuCard) -> Plan:
    return Plan(
        host=HostPlan(name="pegasus", hostname="pegasus"),
        front=Front(hostnames=(), http_port=80, https_port=443),
        packages=(), envs=(), models=(), models_root="/srv/models", gpus=cards, memory=0, stacks=(),
    )  # fmt: skip


def test_the_host_is_told_which_cards_it_has_and_watches_them() -> None:
    (card,) = json.loads(declared(plan(CARD))["/etc/farrier/gpus.json"]["content"])
    assert (card["index"], card["pci"], card["memory"]) == (0, "0000:3b:00.0", 14 * 2**30)
    (unit,) = gpu_files(ROOT, plan(CARD)).values()
    assert "farrier-gpus watch" in unit["content"]


def test_a_host_without_cards_for_us_is_told_so_and_has_no_watcher() -> None:
    assert json.loads(declared(plan())["/etc/farrier/gpus.json"]["content"]) == []
    assert gpu_files(ROOT, plan()) == {}
