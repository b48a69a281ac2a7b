"""A stack's plan as files."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from farrier.render import environment_word, exec_word, fragments, release_files

TWO_ENVS = """\
description: Two envs
sources: {app: {path: code}}
envs: {app: {conda: envs/app.lock}, other: {conda: envs/other.lock}}
services:
  redis: {kind: redis, memory: 100M}
  web: {kind: asgi, app: "hello:make()", env: app, after: {redis: healthy}, routes: [{path: /jobs}]}
  worker: {kind: celery, app: hello:celery, env: other, queues: [fast], after: {redis: healthy}}
"""
TIDY = "  tidy: {kind: timer, run: hello, env: app, every: 5m, after: {redis: healthy}}\npipelines:"
GPU = {"pci": "0000:3b:00.0", "model": "Tesla T4", "memory": "15G", "capability": "7.5"}
TEMPLATES = Path(__file__).parents[3] / "systemd"


@pytest.fixture
def timed(jobs: str) -> str:
    """A stack of every kind, with a worker that may sleep."""
    return jobs.replace("pipelines:", TIDY).replace("queues: [fast, slow]", "queues: [fast, slow], idle: 10m")


def files_of(repository: Any, text: str, name: str = "knee", **variables: Any) -> dict[str, str]:
    repository.stack(name, text)
    (stack,) = repository.plan(name, **variables).stacks
    return release_files(stack, TEMPLATES)


def test_rendering_is_deterministic(repository: Any, jobs: str) -> None:
    assert files_of(repository, jobs) == files_of(repository, jobs)


def test_every_unit_names_its_stack_on_its_first_line(repository: Any, jobs: str) -> None:
    units = {path: text for path, text in files_of(repository, jobs).items() if path.startswith("units/")}
    assert len(units) == 6
    assert {text.splitlines()[0].split(".")[0] for text in units.values()} == {"# Farrier: stack knee"}


def test_exec_start_names_the_real_prefix(repository: Any, jobs: str) -> None:
    repository.stack("knee", jobs)
    (env,) = repository.plan("knee").envs
    unit = files_of(repository, jobs)["units/knee-worker@.service"]
    assert f"ExecStart={env.prefix}/bin/celery" in unit
    assert "/current" not in unit


def changed_units(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before | after if name.startswith("units/") and before.get(name) != after.get(name)}


def test_a_changed_lock_touches_the_units_that_use_it_and_no_others(repository: Any) -> None:
    folder = repository.stack("knee", TWO_ENVS)
    for env in ("app", "other"):
        (folder / "envs" / f"{env}.lock").write_text("a lock\n")
    before = files_of(repository, TWO_ENVS)
    (folder / "envs" / "other.lock").write_text("another pin\n")
    assert changed_units(before, files_of(repository, TWO_ENVS)) == {"units/knee-worker@.service"}


def test_no_secret_and_no_time_is_in_a_release(repository: Any, jobs: str) -> None:
    whole = "".join(files_of(repository, jobs).values())
    assert "LoadCredential=redis-password:/etc/farrier/knee/credentials/redis-password" in whole
    assert str(repository.root) not in whole


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("plain", "plain"),
        ("A=b c", '"A=b c"'),
        ("100%", "100%%"),
        ("$HOME", "$HOME"),
        ('say "hi"', '"say \\"hi\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("app.web:create_app()", "app.web:create_app()"),
    ],
)
def test_values_reach_the_process_as_written(value: str, word: str) -> None:
    assert environment_word(value) == word
    assert exec_word(value) == word.replace("$", "$$")


def test_a_timer_is_started_and_what_it_runs_is_not(repository: Any, timed: str) -> None:
    repository.stack("knee", timed)
    (stack,) = repository.plan("knee").stacks
    starts = {unit.file: unit.starts for unit in stack.units if unit.service == "tidy"}
    assert starts == {"knee-tidy.timer": ("knee-tidy.timer",), "knee-tidy.service": ()}
    units = release_files(stack, TEMPLATES)
    assert "OnUnitActiveSec=300\n" in units["units/knee-tidy.timer"]
    assert "/bin/python -m hello\n" in units["units/knee-tidy.service"]
    assert "FARRIER_TIDY_TIMER=knee-tidy.timer" in units["units/knee-web.service"]


@pytest.mark.parametrize(("egress", "walls"), [("none", True), ("internet", False)])
def test_a_timers_program_reaches_only_the_host_itself_unless_it_says_so(
    repository: Any, timed: str, egress: str, walls: bool
) -> None:
    service = files_of(repository, timed.replace("every: 5m", f"every: 5m, egress: {egress}"))[
        "units/knee-tidy.service"
    ]
    assert ("IPAddressDeny=any" in service) is walls


def test_a_line_break_cannot_add_a_directive() -> None:
    with pytest.raises(ValueError, match="line break"):
        exec_word("x\nExecStartPre=/bin/rm")


def test_prefixes_get_their_own_handles(repository: Any, small: str) -> None:
    repository.stack("knee", small.replace("{path: /}", "{path: /}, {path: /api, strip: true}"))
    (stack,) = repository.plan("knee").stacks
    (text,) = fragments(stack).values()
    assert "handle_path /api/* {" in text
    assert "redir /api /api/" in text
    assert "handle {" in text
    assert "reverse_proxy unix//run/farrier/knee/web.live.sock" in text


@pytest.mark.parametrize("gpus", [[], [GPU]], ids=["plain", "with cards"])
def test_systemd_accepts_every_unit(repository: Any, timed: str, tmp_path: Path, gpus: list[dict[str, str]]) -> None:
    """A stand-in root, where every program that a unit starts is an empty file."""
    timed = timed.replace("replicas:", "gpus: {memory: 1G, without: cpu}, replicas:")
    timed = timed.replace("routes:", "gpus: {memory: 1G, without: cpu}, routes:")
    root = tmp_path / "root"
    units = root / "etc" / "systemd" / "system"
    units.mkdir(parents=True)
    (root / "usr/lib/systemd/system").mkdir(parents=True)
    subprocess.run(["cp", "-r", "/lib/systemd/system/.", root / "usr/lib/systemd/system"], check=True)
    names = []
    for path, text in files_of(repository, timed, farrier_gpus=gpus).items():
        if path.startswith("units/"):
            name = Path(path).name.replace("@.", "@0.")
            (units / name).write_text(text)
            names.append(name)
            for line in text.splitlines():
                if line.startswith(("ExecStart=", "ExecStartPre=", "ExecReload=")):
                    program = root / line.split("=")[1].split()[0].lstrip("+/")
                    program.parent.mkdir(parents=True, exist_ok=True)
                    program.touch(mode=0o755)
    command = ["systemd-analyze", "verify", f"--root={root}", "--recursive-errors=no", "--man=no", *names]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
