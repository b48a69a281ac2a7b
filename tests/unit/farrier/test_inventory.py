"""Where in the inventory a wrong variable stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from farrier.inventory import pointed
from farrier.problems import InvalidInput, Problem

WRONG = Problem("inventory variables of pegasus", 0, "farrier_gpus[1].memory", "write a size like 512M or 2G")
GPUS = """\
farrier_gpus:
  - {pci: "0000:3b:00.0", memory: 15G}
  - pci: "0000:af:00.0"
    memory: lots
"""
INVENTORY = """\
servers:
  hosts:
    unicorn: {farrier_gpus: []}
    pegasus:
      ansible_host: pegasus.example.org
      farrier_gpus: [{memory: 15G}, {memory: lots}]
"""


def told(root: Path, inventory: str, problem: Problem = WRONG) -> str:
    return str(pointed(InvalidInput([problem]), root / inventory, "pegasus", root).problems[0])


@pytest.mark.parametrize("file", ["host_vars/pegasus.yml", "host_vars/pegasus/gpus.yml", "group_vars/servers.yml"])
def test_a_variable_of_one_file_is_told_with_its_line(tmp_path: Path, file: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(GPUS)
    (tmp_path / "hosts.yml").write_text("servers: {hosts: {pegasus: }}\n")
    assert told(tmp_path, "hosts.yml") == f"{file}:4: farrier_gpus[1].memory: write a size like 512M or 2G"


def test_a_variable_in_the_inventory_itself_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(INVENTORY)
    assert told(tmp_path, "hosts.yml").startswith("hosts.yml:6: farrier_gpus[1].memory: ")


def test_the_hosts_own_file_comes_before_a_groups(tmp_path: Path) -> None:
    for file in ("host_vars/pegasus.yml", "group_vars/all.yml"):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_text(GPUS)
    assert told(tmp_path, "hosts.yml").startswith("host_vars/pegasus.yml:4: ")


def test_what_stands_in_several_files_or_in_none_is_told_without_a_line(tmp_path: Path) -> None:
    assert told(tmp_path, "hosts.yml") == str(WRONG)
    (tmp_path / "group_vars").mkdir()
    for file in ("all.yml", "servers.yml", "broken.yml"):
        (tmp_path / "group_vars" / file).write_text(
            GPUS if file != "broken.yml" else "$ANSIBLE_VAULT;1.1;AES256\n613\n"
        )
    assert told(tmp_path, "hosts.yml") == str(WRONG)


def test_problems_of_other_files_stay_as_they_are(tmp_path: Path) -> None:
    problem = Problem("stacks/knee/stack.yml", 7, "services.web", "wrong")
    assert told(tmp_path, "hosts.yml", problem) == str(problem)
