"""Which release a process runs is read from the process itself: files may have changed under it."""

from __future__ import annotations

from pathlib import Path

import pytest

from farrier_host.release.files import FileSet
from farrier_host.release.health import strangers
from farrier_host.release.systemd import Seen

CODE, ENV = "/opt/farrier/a/code/app-1", "/opt/farrier/envs/app-1"
TEXT = f"[Service]\nWorkingDirectory={CODE}\nExecStart={ENV}/bin/celery \\\n  worker\n"
LIVE = FileSet(units={"a-worker@.service": TEXT, "a-redis.service": "[Service]\nExecStart=/usr/bin/redis-server\n"})


def seen(pid: int, state: str = "active") -> Seen:
    return Seen(state, "running", "success", "enabled", "1", "", 0, None, None, pid)


# Code folder and program of the process -> whether it is another release's.
PROCESSES = {
    "its own": (CODE, f"{ENV}/bin/python3.11", False),
    "other code": ("/opt/farrier/a/code/app-2", f"{ENV}/bin/python3.11", True),
    "other env": (CODE, "/opt/farrier/envs/app-2/bin/python3.11", True),
    "an env whose name begins alike": (CODE, "/opt/farrier/envs/app-12/bin/python3.11", True),
    "the guard, just before it becomes the server": (CODE, "/usr/bin/python3.11", False),
    "its code was deleted": (f"{CODE} (deleted)", f"{ENV}/bin/python3.11", True),
}


@pytest.mark.parametrize(("folder", "program", "strange"), PROCESSES.values(), ids=PROCESSES)
def test_code_and_env_tell(tmp_path: Path, folder: str, program: str, *, strange: bool) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cwd").symlink_to(folder)
    (tmp_path / "7" / "exe").symlink_to(program)
    found = strangers(LIVE, {"a-worker@0.service": seen(7)}, tmp_path)
    assert found == (["a-worker@0.service"] if strange else [])


def test_one_that_just_starts_is_looked_at_too(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cwd").symlink_to("/opt/farrier/a/code/app-2")
    (tmp_path / "7" / "exe").symlink_to(f"{ENV}/bin/python3.11")
    assert strangers(LIVE, {"a-worker@0.service": seen(7, "activating")}, tmp_path)


def test_what_ended_meanwhile_or_runs_no_code_of_ours_is_none(tmp_path: Path) -> None:
    (tmp_path / "8").mkdir()
    (tmp_path / "8" / "cwd").symlink_to("/var/lib/farrier/a/redis")
    (tmp_path / "8" / "exe").symlink_to("/usr/bin/redis-server")
    units = {"a-worker@0.service": seen(7), "a-worker@1.service": seen(0), "a-redis.service": seen(8)}
    assert strangers(LIVE, units, tmp_path) == []
