"""What the stack files mean on a host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from app.core import idle
from app.core.pipelines import read_pipelines
from farrier.kinds.celery import start_burst
from farrier.plan.model import Plan, StackPlan, Unit
from farrier.render import release_files
from farrier_host.release.bells import ASLEEP

ROOT = Path(__file__).parents[3]


def stack_of(plan: Plan) -> StackPlan:
    (stack,) = plan.stacks
    return stack


def unit_of(plan: Plan, file: str) -> Unit:
    return next(unit for unit in stack_of(plan).units if unit.file == file)


def test_services_become_units(repository: Any, jobs: str) -> None:
    repository.stack("knee", jobs)
    starts = [name for unit in stack_of(repository.plan("knee")).units for name in unit.starts]
    assert starts == [
        "knee-redis.service",
        "knee-web.socket",
        "knee-web.service",
        "knee-worker@0.service",
        "knee-worker@1.service",
    ]


def test_a_plan_depends_on_content_alone(repository: Any, jobs: str) -> None:
    folder = repository.stack("knee", jobs)
    first = repository.plan("knee")
    (folder / "code" / "__pycache__").mkdir()
    (folder / "code" / "__pycache__" / "hello.pyc").write_bytes(b"bytecode")
    assert repository.plan("knee") == first


def test_changed_code_changes_the_units_that_run_it_and_no_other(repository: Any, jobs: str) -> None:
    folder = repository.stack("knee", jobs)
    before = {unit.file: unit for unit in stack_of(repository.plan("knee")).units}
    (folder / "code" / "hello.py").write_text("app = 1\n")
    after = {unit.file: unit for unit in stack_of(repository.plan("knee")).units}
    changed = {file for file in after if after[file].context != before[file].context}
    assert {"knee-web.service", "knee-worker@.service"} <= changed
    assert "knee-redis.service" not in changed


def test_a_changed_lock_changes_the_prefix(repository: Any, jobs: str) -> None:
    folder = repository.stack("knee", jobs)
    (before,) = repository.plan("knee").envs
    (folder / "envs" / "web.lock").write_text("another lock\n")
    (after,) = repository.plan("knee").envs
    assert before.prefix != after.prefix
    assert unit_of(repository.plan("knee"), "knee-web.service").context["prefix"] == after.prefix


def test_locks_of_the_inventory_come_before_the_stacks_own(repository: Any, small: str, tmp_path: Path) -> None:
    repository.stack("knee", small)
    other = tmp_path / "locks" / "knee" / "envs" / "web.lock"
    other.parent.mkdir(parents=True)
    other.write_text("the test channel's lock\n")
    assert repository.plan("knee", farrier_locks="locks").envs[0].lock == "locks/knee/envs/web.lock"
    assert repository.plan("knee").envs[0].lock == "stacks/knee/envs/web.lock"


def test_code_learns_of_redis_queues_and_pipelines(repository: Any, jobs: str) -> None:
    repository.stack("knee", jobs)
    plan = repository.plan("knee")
    environment = unit_of(plan, "knee-web.service").context["environment"]
    assert environment["FARRIER_REDIS_SOCKET"] == "/run/farrier/knee/redis/redis.sock"
    assert environment["FARRIER_QUEUES"] == "fast,slow"
    (path,) = stack_of(plan).config
    assert environment["FARRIER_PIPELINES"] == path
    pipeline = json.loads(stack_of(plan).config[path])["one"]
    assert [(step["name"], step["timeout"]) for step in pipeline["steps"]] == [("first", 300)]
    assert pipeline["python"] == f"{plan.envs[0].prefix}/bin/python"


def test_secrets_are_named_and_never_in_the_plan(repository: Any, jobs: str) -> None:
    repository.stack("knee", jobs)
    stack = stack_of(repository.plan("knee"))
    assert [(each.name, each.kind) for each in stack.credentials] == [
        ("redis-password", "password"),
        ("redis-admin-password", "password"),
        ("redis-users.acl", "redis-acl"),
        ("verify-token", "password"),
    ]
    credentials = unit_of(repository.plan("knee"), "knee-worker@.service").context["credentials"]
    assert credentials["redis-password"] == "/etc/farrier/knee/credentials/redis-password"
    assert "redis-users.acl" not in credentials


def test_two_hosts_differ_in_their_own_lines_only(repository: Any, jobs: str) -> None:
    repository.stack("knee", jobs)
    one = repository.plan("knee", farrier_hostname="a.example.org").model_dump()
    two = repository.plan("knee", farrier_hostname="b.example.org").model_dump()
    assert json.loads(json.dumps(one).replace("a.example.org", "b.example.org")) == json.loads(json.dumps(two))


def test_memory_counts_every_service_and_a_second_generation_of_the_largest_web_service(
    repository: Any, jobs: str
) -> None:
    limited = jobs.replace("queues: [fast", "limits: {memory: 1G}, queues: [fast").replace(
        "routes: [", "limits: {memory: 500M}, routes: ["
    )
    repository.stack("knee", limited)
    assert repository.plan("knee").memory == 100 * 2**20 + 2 * 500 * 2**20 + 2 * 2**30


def test_packages_follow_the_kinds(repository: Any, small: str, jobs: str) -> None:
    repository.stack("hello", small)
    repository.stack("knee", jobs)
    assert "redis-server" not in repository.plan("hello").packages
    assert {"redis-server", "caddy"} <= set(repository.plan("hello", "knee").packages)


def test_an_env_that_two_stacks_share_is_there_once(repository: Any, small: str) -> None:
    repository.stack("one", small)
    repository.stack("two", small.replace("path: /}", "path: /two}"))
    assert len(repository.plan("one", "two").envs) == 1


def test_the_application_reads_the_pipelines_file_that_the_plan_writes(
    repository: Any, jobs: str, tmp_path: Path
) -> None:
    options = """{
      whole: {type: integer, default: 1, minimum: 0, maximum: 2, title: Whole}, part: {type: number, default: 0.5,
      minimum: 0, maximum: 1}, flag: {type: boolean, default: true},
      one: {type: choice, default: a, choices: [a, b]}}"""
    text = jobs.replace("{name: first, timeout: 5m}]", f"{{name: make_mask, timeout: 5m}}], options: {options}")
    repository.stack("knee", text)
    (content,) = stack_of(repository.plan("knee")).config.values()
    path = tmp_path / "pipelines.json"
    path.write_text(content)
    pipeline = read_pipelines(path)["one"]
    assert [step.name for step in pipeline.steps] == ["make_mask"]
    assert (pipeline.timeout, pipeline.steps[0].timeout) == (1800, 300)
    assert pipeline.parse_options({}) == {"whole": 1, "part": 0.5, "flag": True, "one": "a"}


def test_a_step_may_have_an_env_of_its_own_and_variables_that_name_it(
    repository: Any, jobs: str, tmp_path: Path
) -> None:
    step = (
        "{name: first, env: torch, environment: {OMP_NUM_THREADS: '2'}, "
        "error: SEGMENTATION_FAILED, exit_codes: {3: X1}}"
    )
    text = jobs.replace(
        "{name: first, timeout: 5m}]", f"{step}, {{name: last}}], environment: {{LD_LIBRARY_PATH: '{{env}}/lib'}}"
    )
    text = text.replace("envs: {app: ", "envs: {torch: {conda: envs/torch.lock}, app: ")
    (repository.stack("knee", text) / "envs/torch.lock").write_text("another lock\n")
    plan = repository.plan("knee")
    (content,) = stack_of(plan).config.values()
    path = tmp_path / "pipelines.json"
    path.write_text(content)
    first, last = read_pipelines(path)["one"].steps
    prefixes = {env.name: env.prefix for env in plan.envs}
    assert first.python == Path(prefixes["torch"]) / "bin/python"
    assert first.environment == {"LD_LIBRARY_PATH": f"{prefixes['torch']}/lib", "OMP_NUM_THREADS": "2"}
    assert (first.error, first.exit_codes) == ("SEGMENTATION_FAILED", {3: "X1"})
    assert (last.python, last.environment) == (
        Path(prefixes["app"]) / "bin/python",
        {"LD_LIBRARY_PATH": f"{prefixes['app']}/lib"},
    )


def test_a_hyphen_in_a_stacks_name_nests_no_slice(repository: Any, small: str) -> None:
    repository.stack("visual-anomaly", small)
    plan = repository.plan("visual-anomaly")
    assert unit_of(plan, "visual-anomaly-web.service").context["slice"] == "visual_anomaly.slice"


FOREIGN = """\
description: A program of its own beside ours
sources: {app: {path: code}}
envs: {app: {conda: envs/web.lock}}
services:
  redis: {kind: redis, memory: 100M}
  web: {kind: asgi, app: "hello:make()", env: app, routes: [{path: /jobs}]}
  ours: {kind: celery, app: hello:celery, env: app, queues: [knee]}
  tasks: {kind: celery, app: tasks:app, env: app, queues: [celery], contract: foreign, broker: redis, stop_timeout: 1m}
"""


def test_a_foreign_program_is_given_its_broker_and_nothing_else_of_ours(repository: Any) -> None:
    repository.stack("knee", FOREIGN)
    context = unit_of(repository.plan("knee"), "knee-tasks@.service").context
    assert context["environment"] == {
        "FARRIER_BROKER_SOCKET": "/run/farrier/knee/redis/redis.sock",
        "FARRIER_BROKER_CREDENTIAL": "redis-password",
    }
    assert list(context["credentials"]) == ["redis-password"]


def test_readiness_waits_for_no_worker_of_a_foreign_program(repository: Any) -> None:
    repository.stack("knee", FOREIGN)
    assert unit_of(repository.plan("knee"), "knee-web.service").context["environment"]["FARRIER_QUEUES"] == "knee"


def test_a_foreign_programs_stop_is_bounded(repository: Any) -> None:
    repository.stack("knee", FOREIGN)
    files = release_files(stack_of(repository.plan("knee")), ROOT / "systemd")
    unit = files["units/knee-tasks@.service"]
    assert "foreign_celery.py 60 \\\n" in unit  # seconds that a job in hand has
    assert {"KillSignal=SIGQUIT", "TimeoutStopSec=75"} <= set(unit.splitlines())
    repository.stack("knee", FOREIGN.replace("broker: redis", "broker: redis, pool: threads"))
    threads = release_files(stack_of(repository.plan("knee")), ROOT / "systemd")["units/knee-tasks@.service"]
    assert "KillSignal=SIGTERM" in threads.splitlines()


SLEEPY = FOREIGN.replace("queues: [knee]", "queues: [knee, mri], idle: 10m, replicas: 2")


def test_a_worker_that_may_sleep_has_a_bell_and_whoever_queues_its_jobs_knows_it(repository: Any) -> None:
    repository.stack("knee", SLEEPY)
    plan = repository.plan("knee")
    bell = unit_of(plan, "knee-ours@.socket")
    assert bell.starts == ("knee-ours@0.socket", "knee-ours@1.socket")
    first, second = "/run/farrier/knee/ours.0.bell", "/run/farrier/knee/ours.1.bell"
    known = f"knee={first}:knee={second}:mri={first}:mri={second}"
    for unit in ("knee-web.service", "knee-ours@.service"):
        assert unit_of(plan, unit).context["environment"]["FARRIER_BELLS"] == known
    assert "FARRIER_BELLS" not in unit_of(plan, "knee-tasks@.service").context["environment"]


def test_a_sleeping_worker_is_not_started_by_systemd_itself_and_may_start_as_often_as_it_wakes(repository: Any) -> None:
    repository.stack("knee", SLEEPY)
    files = release_files(stack_of(repository.plan("knee")), ROOT / "systemd")
    unit, bell = files["units/knee-ours@.service"].splitlines(), files["units/knee-ours@.socket"].splitlines()
    (prevented,) = [line for line in unit if line.startswith("RestartPreventExitStatus=")]
    assert str(ASLEEP) in prevented.split("=")[1].split()
    assert {f"SuccessExitStatus={ASLEEP}", "Environment=FARRIER_IDLE=600", "StartLimitBurst=21"} <= set(unit)
    assert {"Wants=knee-ours@%i.socket", "After=knee-ours@%i.socket"} <= set(unit)
    assert {"ListenDatagram=/run/farrier/knee/ours.%i.bell", "TriggerLimitIntervalSec=0"} <= set(bell)
    assert idle.ASLEEP == ASLEEP, "what the worker says is what the host understands"
    assert start_burst(1) == 20 + 300


def test_nobody_is_given_a_bell_where_nobody_sleeps(repository: Any) -> None:
    repository.stack("knee", FOREIGN)
    files = release_files(stack_of(repository.plan("knee")), ROOT / "systemd")
    unit = files["units/knee-ours@.service"]
    assert not any("FARRIER_BELLS" in text or path.endswith("@.socket") for path, text in files.items())
    assert str(ASLEEP) not in unit.split()
    assert "StartLimitBurst=20" in unit.splitlines()


def test_a_foreign_program_cannot_be_let_sleep(repository: Any) -> None:
    repository.stack("knee", FOREIGN.replace("broker: redis", "broker: redis, idle: 10m"))
    (problem,) = repository.problems("knee")
    assert "idle: only for `contract: farrier`" in problem


def test_what_only_a_foreign_program_has_is_refused_elsewhere(repository: Any) -> None:
    repository.stack("knee", FOREIGN.replace("contract: foreign, ", ""))
    (problem,) = repository.problems("knee")
    assert "only with `contract: foreign`" in problem
    repository.stack("knee", FOREIGN.replace("broker: redis", "broker: rabbit"))
    (problem,) = repository.problems("knee")
    assert "unknown service of kind redis 'rabbit'" in problem
