"""Secrets and commands of a stack: what the plan makes of them, and what is wrong with them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from farrier import probe
from farrier.deploy.run import ssh_command
from farrier.plan.model import Plan
from farrier.preflight import HostState, findings
from farrier.tool import tool_files
from tests.unit.farrier.conftest import ROOT
from tests.unit.farrier.test_preflight import LIMITS, state

VALUE = "a value that nobody may see"
MORE = """\
secrets:
  token: {description: Where one gets it}
  mail-password: {description: For mail, required: false}
commands:
  admin: {service: web, run: hello.admin}
"""


@pytest.fixture
def text(jobs: str) -> str:
    return jobs.replace("routes: [{path: /jobs}]", "routes: [{path: /jobs}], secrets: [token, mail-password]") + MORE


@pytest.fixture
def plan(repository: Any, text: str) -> Plan:
    repository.stack("knee", text)
    made: Plan = repository.plan("knee", farrier_secrets={"knee": {"token": VALUE}})
    return made


def credentials(plan: Plan, file: str) -> dict[str, str]:
    (unit,) = (unit for unit in plan.stacks[0].units if unit.file == file)
    found: dict[str, str] = unit.context["credentials"]
    return found


def test_a_given_secret_is_handed_to_the_services_that_name_it_and_no_others(plan: Plan) -> None:
    assert credentials(plan, "knee-web.service")["token"] == "/etc/farrier/knee/credentials/token"
    assert "token" not in credentials(plan, "knee-worker@.service")


def test_one_that_is_optional_and_not_given_is_not_asked_for(plan: Plan) -> None:
    assert "mail-password" not in credentials(plan, "knee-web.service")
    assert "mail-password" not in {each.name for each in plan.stacks[0].credentials}


def test_no_value_is_in_the_plan_and_only_its_hash_goes_to_the_probe(plan: Plan) -> None:
    assert VALUE not in plan.model_dump_json()
    request = probe.request(ROOT, ROOT, plan.model_copy(update={"stacks": ()}), None, only_look=True)
    assert request["stacks"] == []
    whole = plan.model_dump(mode="json")["stacks"][0]
    sent = probe.account(whole, {"knee": {"token": VALUE}})
    assert VALUE not in json.dumps(sent)
    digest = hashlib.sha256(VALUE.encode()).hexdigest()
    assert [each["sha256"] for each in sent["credentials"] if each["kind"] == "given"] == [digest]


PROBLEMS: dict[str, tuple[dict[str, Any], str]] = {
    "a required one is missing": ({}, "pegasus has no value for it: Where one gets it; write it with"),
    "one is for nobody": ({"knee": {"token": VALUE, "tokem": VALUE}}, "stack 'knee' has no such secret: did you mean"),
    "a stack is not here": ({"knee": {"token": VALUE}, "kne": {}}, "no such stack on this host: did you mean"),
    "a value is no text": ({"knee": {"token": 42}}, "write a text in quotation marks"),
    "a value is empty": ({"knee": {"token": ""}}, "at least 1"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_is_wrong_with_secrets_is_told_without_a_value(repository: Any, text: str, name: str) -> None:
    given, expected = PROBLEMS[name]
    repository.stack("knee", text)
    problems = repository.problems("knee", farrier_secrets=given)
    assert any(expected in each for each in problems), problems
    assert all(VALUE not in each for each in problems)


def test_a_service_names_a_secret_that_the_stack_has(repository: Any, text: str) -> None:
    repository.stack("knee", text.replace("[token, mail-password]", "[tokem]"))
    problems = repository.problems("knee", farrier_secrets={"knee": {"token": VALUE}})
    assert any("unknown secret 'tokem'" in each for each in problems), problems


def test_a_name_that_farrier_uses_itself_is_refused(repository: Any, text: str) -> None:
    repository.stack("knee", text.replace("mail-password", "redis-password"))
    assert any("Farrier makes itself" in each for each in repository.problems("knee", farrier_secrets={}))


def test_one_that_is_encrypted_alone_counts_as_given(repository: Any, text: str) -> None:
    """So `ansible-inventory` tells it, which `farrier plan` asks."""
    repository.stack("knee", text)
    plan = repository.plan("knee", farrier_secrets={"knee": {"token": {"__ansible_vault": "$ANSIBLE_VAULT;1.1"}}})
    assert "token" in credentials(plan, "knee-web.service")


def test_a_command_becomes_a_launcher_that_names_no_release(plan: Plan) -> None:
    (command,) = plan.stacks[0].commands
    assert command.argv == (f"{plan.envs[0].prefix}/bin/python", "-m", "hello.admin")
    launcher = tool_files(ROOT, plan)["/usr/local/bin/knee-admin"]
    assert launcher["mode"] == "0755"
    assert 'command knee admin -- "$@"' in launcher["content"]
    assert plan.envs[0].prefix not in launcher["content"]


def test_somebody_elses_program_of_that_name_is_not_overwritten(plan: Plan) -> None:
    def told(line: str) -> list[str]:
        found: HostState = state(launchers={"/usr/local/bin/knee-admin": line})
        return findings(plan, found, LIMITS)

    assert told("# Farrier: stack knee. Its live release's command `admin`.") == []
    assert told("import sys")[0].startswith("/usr/local/bin/knee-admin exists and is not Farrier's")


def test_a_command_stands_in_a_service_with_an_env(repository: Any, text: str) -> None:
    repository.stack("knee", text.replace("admin: {service: web", "admin: {service: redis"))
    problems = repository.problems("knee", farrier_secrets={"knee": {"token": VALUE}})
    assert any("unknown service with an env 'redis'" in each for each in problems), problems


def test_two_stacks_cannot_have_one_launcher(repository: Any, text: str) -> None:
    repository.stack("knee", text.replace("admin: {", "a-b: {"))
    repository.stack("knee-a", text.replace("admin: {", "b: {").replace("path: /jobs", "path: /other"))
    given = {name: {"token": VALUE} for name in ("knee", "knee-a")}
    problems = repository.problems("knee", "knee-a", farrier_secrets=given)
    assert any("/usr/local/bin/knee-a-b is already a command of stack 'knee'" in each for each in problems), problems


def test_ssh_goes_where_ansible_would_go() -> None:
    variables = {
        "ansible_host": "192.0.2.7",
        "ansible_user": "admin",
        "ansible_port": 2222,
        "ansible_become": True,
        "ansible_ssh_private_key_file": "/keys/one key",
        "ansible_ssh_common_args": "-o ProxyJump=gate",
    }
    call = ssh_command("pegasus", variables, ["farrier-release", "run", "a b"], is_terminal=False)
    assert call[:4] == ["ssh", "-T", "-o", "ProxyJump=gate"]
    assert call[4:10] == ["-i", "/keys/one key", "-l", "admin", "-p", "2222"]
    assert call[10:] == ["192.0.2.7", "--", "sudo -n farrier-release run 'a b'"]


MANIFEST = """\
models:
  - id: brain
    version: "1"
    token: hugging
    files: [{path: w, sha256: "%s", size: 1, sources: [https://example.org/w]}]
    origin: {url: https://example.org, dataset: none, method: none, licence: CC0-1.0}
"""


def test_a_gated_model_needs_a_token_and_the_plan_never_holds_it(repository: Any, small: str) -> None:
    (repository.root / "stacks/models.yml").write_text(MANIFEST % ("ab" * 32))
    repository.stack("one", small.replace("services:", "models: [brain@1]\nservices:"))
    (told,) = repository.problems("one")
    assert told.startswith("stacks/one/stack.yml:4: models[0]: brain@1 is only given out for the token 'hugging'")
    plan = repository.plan("one", farrier_tokens={"hugging": VALUE})
    assert plan.models[0].token == "hugging"
    assert VALUE not in plan.model_dump_json()
