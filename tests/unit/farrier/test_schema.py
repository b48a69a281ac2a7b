"""The key `schema` of a stack file: what its migrations say goes into the plan, or is told as a problem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

KEY = "schema: {env: web, source: app, run: core.migrate, versions: core/versions}\n"
FOLDER = "stacks/demo/code/core/versions"


def migration(number: int, *extra: str, expands: bool = True) -> str:
    before = f'"{number - 1:04}"' if number > 1 else "None"
    lines = [f'revision = "{number:04}"', f"down_revision: str | None = {before}", f"EXPANDS = {expands}", *extra]
    return "\n".join(lines) + "\n"


@pytest.fixture
def versions(repository: Any, small: str) -> Path:
    folder = Path(repository.stack("demo", small + KEY)) / "code/core/versions"
    folder.mkdir(parents=True)
    (folder / "0001_first.py").write_text(migration(1))
    return folder


def plan_of(repository: Any) -> dict[str, Any]:
    return dict(repository.plan("demo").model_dump(mode="json")["stacks"][0])


def test_the_plan_says_how_the_program_is_called(repository: Any, versions: Path) -> None:
    assert versions.is_dir()
    plan = plan_of(repository)
    schema = plan["schema"]
    (env,) = repository.plan("demo").envs
    snapshots = "/var/lib/farrier/demo/snapshots"
    assert schema["command"] == [f"{env.prefix}/bin/python", "-m", "core.migrate", "--snapshot-dir", snapshots]
    assert schema["code"] == next(tree["path"] for tree in plan["code"] if tree["name"] == "app")
    assert (schema["environment"]["FARRIER_STATE"], schema["environment"]["PYTHONPATH"]) == (
        "/var/lib/farrier/demo",
        schema["code"],
    )
    assert "snapshots" in plan["state_folders"]


@pytest.mark.parametrize(
    ("second", "third", "writes", "floor", "reads"),
    [
        (None, None, "0001", "0001", ["0001"]),
        (migration(2), None, "0002", "0001", ["0001", "0002"]),
        (migration(2, expands=False), migration(3), "0003", "0002", ["0002", "0003"]),
        (migration(2), migration(3, 'FLOOR = "0002"', expands=False), "0003", "0002", ["0002", "0003"]),
        (migration(2), migration(3, expands=False), "0003", "0003", ["0003"]),
    ],
)
def test_the_floor_is_the_latest_contraction_s(
    repository: Any, versions: Path, second: str | None, third: str | None, writes: str, floor: str, reads: list[str]
) -> None:
    for number, text in ((2, second), (3, third)):
        if text is not None:
            (versions / f"{number:04}_more.py").write_text(text)
    schema = plan_of(repository)["schema"]
    assert (schema["writes"], schema["floor"], schema["reads"]) == (writes, floor, reads)


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("postgresql://demo@/jobs?host=/run/postgresql", []),
        ("postgresql://demo@localhost:5433/jobs", ["ledger-password"]),
    ],
)
def test_a_ledger_on_a_server_is_told_to_the_migration_and_to_every_unit_of_the_stack_s_code(
    repository: Any, small: str, versions: Path, url: str, secrets: list[str]
) -> None:
    assert versions.is_dir()
    repository.stack("demo", f'{small}{KEY}ledger: {{url: "{url}"}}\n')
    plan = plan_of(repository)
    assert plan["schema"]["environment"]["FARRIER_LEDGER_URL"] == url
    assert plan["schema"]["credentials"] == {name: f"/etc/farrier/demo/credentials/{name}" for name in secrets}
    assert [each["name"] for each in plan["credentials"] if each["name"].startswith("ledger")] == secrets
    (context,) = (unit["context"] for unit in plan["units"] if unit["template"] == "asgi.service.j2")
    assert context["environment"]["FARRIER_LEDGER_URL"] == url
    assert [name for name in context["credentials"] if name.startswith("ledger")] == secrets


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://demo:secret@localhost/jobs",
        "postgresql://demo@db.example.org/jobs",
        "postgresql://demo@/jobs",
        "mysql://demo@localhost/jobs",
    ],
)
def test_an_address_that_the_units_could_not_use_is_refused(repository: Any, small: str, url: str) -> None:
    repository.stack("demo", f'{small}ledger: {{url: "{url}"}}\n')
    (problem,) = repository.problems("demo")
    assert "of a server on this host, without a password" in problem
    assert "ledger.url" in problem


def test_a_stack_without_the_key_has_no_schema(repository: Any, small: str) -> None:
    repository.stack("demo", small)
    assert plan_of(repository)["schema"] is None
    assert "snapshots" not in plan_of(repository)["state_folders"]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("0002_a.py", migration(2).replace("EXPANDS = True\n", ""), "0002_a.py: EXPANDS: write EXPANDS = True when"),
        ("0002_a.py", migration(2).replace("True", "bool(1)"), "0002_a.py:3: EXPANDS: write EXPANDS = True when"),
        ("0002_a.py", migration(2).replace('"0002"', '"0003"'), '0002_a.py:1: revision: write revision = "0002"'),
        ("0003_a.py", migration(3), '0003_a.py:2: down_revision: write down_revision = "0001"'),
        ("0001_second.py", migration(1), "0001_first.py has the same number"),
        ("0002_a.py", migration(2, 'FLOOR = "0001"'), "0002_a.py:4: FLOOR: FLOOR stands beside EXPANDS = False"),
        ("0002_a.py", migration(2, 'FLOOR = "0002"', expands=False), "0002_a.py:4: FLOOR: FLOOR stands beside"),
        ("0002_a.py", "revision = \n", "0002_a.py:1: not valid Python"),
        ("second.py", migration(2), "second.py: call a migration like 0002_what_it_does.py"),
        ("0001_first.py", migration(1, expands=False), "0001_first.py:3: EXPANDS: write EXPANDS = True: there is"),
    ],
)
def test_a_wrong_migration_is_told_with_file_and_line(
    repository: Any, versions: Path, name: str, text: str, told: str
) -> None:
    (versions / name).write_text(text)
    (problem,) = repository.problems("demo")
    assert problem.startswith(FOLDER)
    assert told in problem


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("env: web, source", "env: wab, source", "schema.env: unknown env 'wab': did you mean 'web'?"),
        ("source: app", "source: ap", "schema.source: unknown source 'ap': did you mean 'app'?"),
        ("core/versions", "core/none", "schema.versions: no migration in code/core/none"),
        ("core/versions", "/core", "schema.versions: write a folder like core/versions"),
        ("run: core.migrate", "run: core-migrate", "schema.run: write a module like"),
        ("run:", "rum:", "schema.rum: unknown key 'rum': did you mean 'run'?"),
    ],
)
def test_a_wrong_key_is_told_with_its_line(
    repository: Any, versions: Path, small: str, right: str, wrong: str, told: str
) -> None:
    assert versions.is_dir()
    repository.stack("demo", small + KEY.replace(right, wrong))
    (problem,) = repository.problems("demo")
    assert problem.startswith(f"stacks/demo/stack.yml:10: {told}")
