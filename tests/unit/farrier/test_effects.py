"""What a deploy will do, from the plan and the host's state alone."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farrier.effects.host import HostView
from farrier.effects.model import Effects, StackEffects
from farrier.effects.needs import Locks, conda_sizes
from farrier.effects.predict import Wanted, digests, effects
from farrier.effects.text import as_lines, duration
from farrier.effects.units import changed_settings
from farrier.front import front_files, written
from farrier.nvidia.look import Look
from farrier.plan.model import Plan
from farrier.render import release_files
from tests.unit.nvidia import machines

TEMPLATES = Path(__file__).parents[3] / "systemd"
GIB = 2**30
LOCK = """\
packages:
- conda: https://channel.example/linux-64/python-3.11.2-h1_0.conda
  size: 5000
- conda: https://channel.example/noarch/tzdata-2026a-h2_0.conda
  size: 300
"""
WEB = {"knee-web.socket", "knee-web.service"}
WORKERS = {"knee-worker@0.service", "knee-worker@1.service"}
ALL = {"knee-redis.service", *WEB, *WORKERS}
CREDENTIALS = "/etc/farrier/knee/credentials"


def wanted(plan: Plan, lock: str = LOCK, pip: str | None = None) -> Wanted:
    return Wanted(
        releases={stack.name: release_files(stack, TEMPLATES) for stack in plan.stacks},
        tool={"/opt/farrier/host/farrier_host/__init__.py": {"content": "", "mode": "0644"}},
        front=written(front_files(plan.front)),
        locks={env.id: Locks(lock, pip) for env in plan.envs},
    )


def bare(**changes: Any) -> HostView:
    """A host that nobody deployed to."""
    disk = {"free": 50 * GIB, "total": 100 * GIB, "device": 1}
    facts: dict[str, Any] = {
        "os": {},
        "memory": 32 * GIB,
        "disks": {folder: dict(disk) for folder in ("/opt/farrier", "/var/lib/farrier", "/srv/models")},
        "listeners": [],
        "packages": {},
        "users": {},
        "units": {},
        "envs": [],
        "models": [],
        "live": {},
        "caddyfile": None,
        "live_files": {"knee": {}},
        "health": {"knee": {"complaints": ["nothing is live"]}},
        "files": {},
        "fetched": [],
        "installer": False,
    }
    return HostView.model_validate(facts | changes)


def deployed(plan: Plan, **changes: Any) -> HostView:
    """The host after a deploy of `plan`, with all units up; `changes` to what farrier-release finds of the stack."""
    brought = wanted(plan)
    (stack,) = plan.stacks
    rendered = brought.releases[stack.name]
    starts = {unit.file: unit.starts for unit in stack.units}
    live = {
        "release": "20260101T000000Z-1",
        "units": {path.removeprefix("units/"): text for path, text in rendered.items() if path.startswith("units/")},
        "sites": {path.removeprefix("caddy/"): text for path, text in rendered.items() if path.startswith("caddy/")},
        "starts": starts,
        "changes": {unit.file: unit.change for unit in stack.units},
        "started": {unit: 2000 for units in starts.values() for unit in units},
        "digests": digests(stack, rendered),
        "credentials": {f"{stack.credentials_folder}/{each.name}": 1000 for each in stack.credentials},
        "placed": [*(tree.path for tree in stack.code), *stack.config],
    }
    files = {
        path: {"sha256": hashlib.sha256(file["content"].encode()).hexdigest(), "mode": file["mode"]}
        for path, file in {**brought.tool, **brought.front}.items()
    }
    return bare(
        packages=dict.fromkeys(plan.packages, "1"),
        envs=[env.prefix for env in plan.envs],
        live={"knee": "20260101T000000Z-1"},
        live_files={"knee": live | changes},
        health={"knee": {"complaints": []}},
        files=files,
        installer=True,
    )


@pytest.fixture
def plan(repository: Any, jobs: str) -> Plan:
    repository.stack("knee", jobs)
    made: Plan = repository.plan("knee")
    return made


def foretell(plan: Plan, state: HostView) -> tuple[Effects, StackEffects]:
    found = effects(plan, wanted(plan), state)
    return found, found.stacks[0]


def after_edit(repository: Any, jobs: str, old: str, new: str) -> StackEffects:
    """The effects of one edit of the stack file on a host where the file before it is live."""
    repository.stack("knee", jobs)
    state = deployed(repository.plan("knee"))
    assert old in jobs
    repository.stack("knee", jobs.replace(old, new))
    return foretell(repository.plan("knee"), state)[1]


def test_on_a_bare_host_all_is_new(plan: Plan) -> None:
    found, stack = foretell(plan, bare())
    assert stack.release == "first"
    assert set(stack.starts) == ALL
    assert (stack.restarts, stack.stops, stack.notes) == ((), (), ())
    assert found.reload_front
    assert {each.become for each in (*stack.files, *found.files)} == {"new"}
    assert f"{CREDENTIALS}/redis-password" in {each.path for each in stack.files}


def test_a_second_deploy_changes_nothing(repository: Any, jobs: str) -> None:
    repository.stack("knee", jobs + "verify: [{get: /jobs}]\n")
    plan = repository.plan("knee")
    found, _ = foretell(plan, deployed(plan))
    assert not found.changes
    assert found.longest_wait == 0
    assert as_lines(found) == ["pegasus: nothing changes"]


@pytest.mark.parametrize(
    ("old", "new", "restarts", "starts", "stops"),
    [
        ("description: Jobs", "description: Other jobs", set(), set(), set()),
        ("memory: 100M", "memory: 200M", {"knee-redis.service"}, set(), set()),
        ("kind: asgi,", "kind: asgi, processes: 3,", WEB, set(), set()),
        ("kind: celery,", "kind: celery, limits: {memory: 1G},", WORKERS, set(), set()),
        ("title: One", "title: Two", WEB | WORKERS, set(), set()),
        ("replicas: 2", "replicas: 3", set(), {"knee-worker@2.service"}, set()),
        ("replicas: 2", "replicas: 1", set(), set(), {"knee-worker@1.service"}),
        ("{path: /jobs}", "{path: /work}", set(), set(), set()),
        (
            "  worker: {kind: celery, app",
            "  other: {kind: celery, app",
            set(),
            {"knee-other@0.service", "knee-other@1.service"},
            WORKERS,
        ),
        (
            "  redis: {",
            "  cache: {kind: redis}\n  redis: {",
            WEB | WORKERS,  # they are told where it is
            {"knee-cache.service"},
            set(),
        ),
    ],
)
def test_an_edit_touches_what_it_concerns(
    repository: Any, jobs: str, old: str, new: str, restarts: set[str], starts: set[str], stops: set[str]
) -> None:
    stack = after_edit(repository, jobs, old, new)
    assert stack.release == "new"
    assert (set(stack.restarts), set(stack.starts), set(stack.stops)) == (restarts, starts, stops)


def test_each_kind_goes_over_in_its_own_way(repository: Any, jobs: str) -> None:
    stack = after_edit(repository, jobs.replace("100M}", "100M, environment: {}}"), "title: One", "title: Two")
    assert {each.unit: each.how for each in stack.units} == dict.fromkeys(WEB, "bridge") | dict.fromkeys(
        WORKERS, "follow"
    )
    assert {each.why for each in stack.units if "@" in each.unit} == {"changed: FARRIER_PIPELINES"}


def test_only_changed_routes_make_caddy_read_again(repository: Any, jobs: str) -> None:
    assert after_edit(repository, jobs, "{path: /jobs}", "{path: /work}").reload_front
    assert not after_edit(repository, jobs, "title: One", "title: Two").reload_front


def test_other_verify_steps_are_a_new_release_that_restarts_nothing(repository: Any, jobs: str) -> None:
    stack = after_edit(repository, jobs, "pipelines:", "verify: [{get: /jobs, within: 40s}]\npipelines:")
    assert (stack.release, stack.units, stack.files) == ("new", (), ())
    assert [(wait.what, wait.seconds) for wait in stack.waits] == [("the verify steps", 40)]


def test_a_new_hostname_is_a_site_of_the_front_door(repository: Any, jobs: str) -> None:
    repository.stack("knee", jobs)
    state = deployed(repository.plan("knee"))
    repository.stack("knee", jobs.replace("{path: /jobs}", "{path: /jobs, host: jobs.example.org}"))
    found, _ = foretell(repository.plan("knee"), state)
    assert found.reload_front
    assert [(each.path, each.become) for each in found.files] == [("/etc/caddy/sites/jobs.example.org.caddy", "new")]


def test_a_unit_that_is_down_is_started_and_one_kept_down_is_left_alone(plan: Plan) -> None:
    down = ["knee-redis.service", "knee-worker@1.service"]
    _, stack = foretell(plan, deployed(plan, stopped=down, kept_down=down[1:]))
    assert [(each.unit, each.how, each.why) for each in stack.units] == [
        ("knee-redis.service", "start", "it does not run")
    ]


def test_a_worker_that_sleeps_is_left_alone_unless_it_changed(repository: Any, jobs: str) -> None:
    assert "queues: [fast, slow]" in jobs
    sleepy = jobs.replace("queues: [fast, slow]", "queues: [fast, slow], idle: 10m")
    repository.stack("knee", sleepy)
    asleep = sorted(WORKERS)
    state = deployed(repository.plan("knee"), stopped=asleep, asleep=asleep)
    _, stack = foretell(repository.plan("knee"), state)
    assert not stack.units
    repository.stack("knee", sleepy.replace("idle: 10m", "idle: 20m"))
    _, stack = foretell(repository.plan("knee"), state)
    assert {(each.unit, each.how, each.why) for each in stack.units} == {
        (unit, "start", "changed: FARRIER_IDLE") for unit in asleep
    }


def test_a_changed_text_of_a_service_that_is_down_is_not_bridged(repository: Any, jobs: str) -> None:
    repository.stack("knee", jobs)
    state = deployed(repository.plan("knee"), stopped=["knee-web.service"])
    repository.stack("knee", jobs.replace("kind: asgi,", "kind: asgi, processes: 3,"))
    _, stack = foretell(repository.plan("knee"), state)
    assert {each.unit: each.how for each in stack.units} == {"knee-web.service": "start"}


@pytest.mark.parametrize(
    ("gone", "restarts"),
    [("redis-password", ALL), ("redis-users.acl", {"knee-redis.service"}), ("verify-token", WEB | WORKERS)],
)
def test_a_secret_that_is_made_anew_restarts_those_that_are_given_it(plan: Plan, gone: str, restarts: set[str]) -> None:
    stack = plan.stacks[0]
    left = {f"{CREDENTIALS}/{each.name}": 1000 for each in stack.credentials if each.name != gone}
    _, found = foretell(plan, deployed(plan, credentials=left))
    assert set(found.restarts) == restarts - {"knee-web.socket"} | (WEB & restarts)
    assert {each.why for each in found.units if each.how != "bridge"} <= {"older process or credentials"}
    assert f"{CREDENTIALS}/{gone}" in {each.path for each in found.files}


def test_a_secret_younger_than_the_process_restarts_it(plan: Plan) -> None:
    times = {f"{CREDENTIALS}/{each.name}": 1000 for each in plan.stacks[0].credentials}
    newer = times | {f"{CREDENTIALS}/redis-users.acl": 3000}
    _, found = foretell(plan, deployed(plan, credentials=newer))
    assert found.restarts == ("knee-redis.service",)
    assert found.release == "same"


def test_an_open_activation_and_complaints_are_told(plan: Plan) -> None:
    _, opened = foretell(plan, deployed(plan, phase="unconfirmed"))
    assert "an activation is open (unconfirmed)" in opened.notes[0]
    ill = deployed(plan).model_copy(
        update={"health": bare(health={"knee": {"complaints": ["it is not ready"]}}).health}
    )
    _, mended = foretell(plan, ill)
    assert mended.notes == ("to be mended: it is not ready",)


@pytest.mark.parametrize(
    ("boxes", "lasts", "note"),
    [
        ({}, "2h", "it is stopped 2h after it went live, unless somebody extends that"),
        ({"knee": {"until": 1_800_000_000}}, "2h", "extends that (now: 2027-01-15 08:00 UTC)"),
        ({"knee": {"until": 1_800_000_000}}, "", "it stays for ever: this run gives no farrier_for"),
    ],
)
def test_the_time_that_it_is_given_is_told(plan: Plan, boxes: dict[str, Any], lasts: str, note: str) -> None:
    state = HostView.model_validate(deployed(plan).model_dump() | {"boxes": boxes, "lasts": lasts})
    found, knee = foretell(plan, state)
    assert note in knee.notes[-1]
    assert found.changes


def with_schema(plan: Plan, writes: str) -> Wanted:
    """A release whose plan on the host names a schema."""
    brought = wanted(plan)
    whole = json.loads(brought.releases["knee"]["plan.json"]) | {"schema": {"writes": writes, "floor": writes}}
    return replace(brought, releases={"knee": {**brought.releases["knee"], "plan.json": json.dumps(whole)}})


@pytest.mark.parametrize(
    ("database", "note"),
    [
        ({}, "the database is brought to schema 0002 before"),
        ({"writes": "0001", "floor": "0001"}, "the database is brought from schema 0001 to schema 0002 before"),
        ({"writes": "0003", "floor": "0003"}, "it will be refused: the database has schema 0003"),
        ({"writes": "0003", "floor": "0001"}, ""),  # a newer release left it, and this one can serve it
        ({"writes": "0002", "floor": "0002"}, ""),
    ],
)
def test_what_becomes_of_the_database_is_told(plan: Plan, database: dict[str, str], note: str) -> None:
    (stack,) = effects(plan, with_schema(plan, "0002"), deployed(plan, database=database)).stacks
    assert [told.startswith(note) for told in stack.notes] == ([True] if note else [])
    assert any(wait.what == "the migration of the database" for wait in stack.waits) is ("brought" in note)


def test_downloads_are_what_the_host_lacks(plan: Plan) -> None:
    (env,) = plan.envs
    missing = deployed(plan).model_copy(update={"envs": []})
    (download,) = effects(plan, wanted(plan), missing).downloads
    assert (download.what, download.size) == (f"env {env.id}: 2 conda packages", 5300)
    cached = missing.model_copy(update={"fetched": frozenset(["tzdata-2026a-h2_0"])})
    (download,) = effects(plan, wanted(plan), cached).downloads
    assert (download.what, download.size) == (f"env {env.id}: 1 conda package", 5000)


def test_what_no_lock_tells_has_no_size(plan: Plan) -> None:
    missing = deployed(plan).model_copy(update={"envs": []})
    brought = wanted(plan, lock=LOCK.replace("  size: 300\n", ""), pip="click==8 \\\n    --hash=sha256:1\n# via\n")
    found = effects(plan, brought, missing)
    assert [each.size for each in found.downloads] == [None, None]
    assert [each.what.rpartition(": ")[2] for each in found.downloads] == ["2 conda packages", "1 Python package"]
    assert any("of unknown size" in line for line in as_lines(found))


def test_a_bare_host_downloads_packages_tools_envs(plan: Plan) -> None:
    found, _ = foretell(plan, bare())
    assert [each.what.split(":")[0].split("-")[0] for each in found.downloads] == [
        "Debian packages",
        "the installer of environments",
        "env web" if plan.envs[0].name == "web" else "env app",
    ]
    assert found.bytes_to_download == 5300
    assert {disk.folder: disk.need for disk in found.disks}["/opt/farrier"] == plan.envs[0].disk


def test_a_driver_that_is_missing_is_told(plan: Plan) -> None:
    card = {"index": 0, "pci": "0000:3b:00.0", "model": "T4", "memory": 1, "capability": "7.5", "minor": 0}
    with_card = Plan.model_validate(plan.model_dump() | {"gpus": [card]})
    system = {"id": "debian", "version_id": "12", "version_codename": "bookworm"}
    driver = "NVIDIA's driver, and what it is built with"

    def downloads(plan: Plan, gpu: Look) -> list[str]:
        found, _ = foretell(plan, bare(os=system, gpu=gpu.model_dump(by_alias=True)))
        return [each.what for each in found.downloads]

    assert driver in downloads(with_card, machines.found("one T4"))
    assert driver not in downloads(plan, machines.found("one T4"))
    assert driver not in downloads(with_card, machines.found("one T4", **machines.installed()))


def test_models_count_with_their_files(plan: Plan) -> None:
    file = {"path": "weights", "sha256": "0" * 64, "size": 7000, "sources": ["https://models.example/weights"]}
    model = {"id": "net", "version": "1", "path": "/srv/models/net/1", "token": None, "files": [file]}
    with_model = Plan.model_validate(plan.model_dump() | {"models": [model]})
    found = effects(with_model, wanted(plan), deployed(plan))
    assert [(each.what, each.size) for each in found.downloads] == [("model net@1", 7000)]
    assert [(disk.folder, disk.need) for disk in found.disks] == [("/srv/models", 7000)]


def test_the_longest_wait_of_a_bridge_counts_both_generations(repository: Any, jobs: str) -> None:
    stack = after_edit(repository, jobs, "kind: asgi,", "kind: asgi, stop_timeout: 100s,")
    (wait,) = [each for each in stack.waits if "bridge" in each.what]
    ready = 90 + 60 + 10 + 300  # start, gate, what waits at the socket, what is still answered
    assert wait.seconds == 2 * ready + (30 + 15) + (100 + 15)


def test_the_json_reads_back(plan: Plan) -> None:
    found, _ = foretell(plan, bare())
    assert Effects.model_validate_json(found.model_dump_json()) == found
    assert found.model_dump()["stacks"][0]["starts"] == tuple(sorted(ALL))


def test_the_text_names_each_unit_and_how_it_goes_over(repository: Any, jobs: str) -> None:
    repository.stack("knee", jobs)
    state = deployed(repository.plan("knee"))
    repository.stack("knee", jobs.replace("title: One", "title: Two"))
    text = "\n".join(as_lines(foretell(repository.plan("knee"), state)[0]))
    assert "knee-web.service: a second generation serves while it restarts, nobody waits" in text
    assert "knee-worker@0.service: restarts when its job ends" in text
    assert "~ /etc/systemd/system/knee-web.service" in text
    assert "Caddy: untouched" in text
    assert "to download: nothing" in text


def test_changed_settings_are_named_once_and_over_lines_that_go_on() -> None:
    before = "[Service]\nEnvironment=A=1\nEnvironment=B=1\nExecStart=/bin/x \\\n  --one 1\n# Note=1\nMemoryMax=1\n"
    after = before.replace("A=1", "A=2").replace("--one 1", "--one 2").replace("# Note=1", "# Note=2")
    assert changed_settings(before, after) == ("A", "ExecStart")


def test_sizes_of_a_lock_without_packages() -> None:
    assert conda_sizes("") == {}
    assert conda_sizes("packages:\n- pypi: x\n") == {}


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (200, "3 min 20 s")])
def test_durations_read_well(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def test_the_front_doors_files_are_compared_with_their_mode(plan: Plan) -> None:
    brought = wanted(plan)
    loose = replace(brought, front={path: {**file, "mode": "0600"} for path, file in brought.front.items()})
    found = effects(plan, loose, deployed(plan))
    assert {each.become for each in found.files} == {"changed"}
    assert found.reload_front
