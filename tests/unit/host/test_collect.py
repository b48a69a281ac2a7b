"""Retention, on trees as deploys leave them: what nothing needs goes, and nothing that runs or could come back."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from farrier_host.release import lock
from farrier_host.release.collect import Collected, collect, keep
from farrier_host.release.layout import Layout
from farrier_host.release.removal import delete, size

Json = dict[str, Any]

LIVE = "20260106T120000Z-0000006"
OLD = time.time() - 7 * 24 * 3600


def digest(text: str) -> str:
    """Twelve hexadecimal digits that are the text's."""
    return (text.encode().hex() + "0" * 12)[:12]


def age(path: Path, when: float = OLD) -> None:
    """As if nobody had touched it since."""
    os.utime(path, (when, when), follow_symlinks=False)


@dataclass(frozen=True)
class Host:
    """A tree that stands for a host, with the tools that fill it as deploys do."""

    root: Path

    @property
    def layout(self) -> Layout:
        return Layout(self.root)

    @property
    def farrier(self) -> Path:
        return self.root / "opt/farrier"

    @property
    def models(self) -> Path:
        return self.root / "srv/models"

    def env(self, name: str, packages: Sequence[str] = (), when: float = OLD) -> str:
        """An env of cached packages, hardlinked; its id."""
        identity = f"{name}-{digest(name)}"
        prefix = self.farrier / "envs" / identity
        (prefix / "conda-meta").mkdir(parents=True)
        (prefix.parent / ".lock").touch()
        for package in packages:
            cached = self.farrier / "cache/conda" / package
            if not cached.exists():
                cached.mkdir(parents=True)
                (cached / "content").write_bytes(os.urandom(9000))
                cached.with_name(f"{package}.lock").touch()
            (prefix / package).hardlink_to(cached / "content")
            (prefix / "conda-meta" / f"{package}.json").write_text("{}")
            age(cached)
        (prefix / ".ready").write_text(json.dumps({"id": identity, "records": {}}))
        age(prefix, when)
        return identity

    def model(self, reference: str, content: str, when: float = OLD) -> Path:
        """A model of one file, placed as a link to the store's; its folder."""
        name, _, version = reference.partition("@")
        store = self.models / ".store" / "sha256" / "ab"
        store.mkdir(parents=True, exist_ok=True)
        (self.models / ".store/.lock").touch()
        file = store / (content.encode().hex() + "0" * 64)[:64]
        if not file.exists():
            file.write_text(content * 1000)
            age(file)
        folder = self.models / name / version
        folder.mkdir(parents=True)
        (folder / "weights").hardlink_to(file)
        (folder / ".complete").write_text("{}")
        age(folder, when)
        return folder

    def release(self, stack: str, day: int, *, envs: Sequence[str] = (), models: Sequence[str] = ()) -> str:
        """A staged release with code and configuration of its own; its id."""
        release, home = f"202601{day:02}T120000Z-{day:07}", self.farrier / stack
        code, config = home / "code" / f"app-{day:012}", home / "config" / f"pipelines-{day:012}.json"
        for file in (code / "app.py", config, home / "releases" / release / "units" / f"{stack}-web.service"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("x")
        plan = {
            "envs": list(envs),
            "models": list(models),
            "models_root": "/srv/models",
            "code": [{"path": f"/opt/farrier/{stack}/code/{code.name}"}],
            "config": {f"/opt/farrier/{stack}/config/{config.name}": "x"},
        }
        folder = home / "releases" / release
        (folder / "plan.json").write_text(json.dumps(plan))
        for path in (code, config, folder):
            age(path, OLD + day)
        return release

    def live(self, stack: str, active: str | None, previous: str | None = None, **more: Any) -> None:
        state = {"phase": "confirmed", "active": active, "previous": previous, "since": "", "message": ""} | more
        (self.farrier / stack / "state.json").write_text(json.dumps(state))

    def collect(self, count: int = 0, **options: Any) -> Collected:
        return collect(self.layout, count, list[str]().append, **({"proc": self.root / "proc"} | options))

    def releases(self, stack: str) -> list[int]:
        """The days of the releases that are there."""
        return sorted(int(path.name[6:8]) for path in (self.farrier / stack / "releases").iterdir())

    def inside(self, folder: str) -> list[str]:
        """What lies in a folder, hidden things included but no lock."""
        return sorted(path.name for path in (self.root / folder).iterdir() if path.name != ".lock")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def knee(host: Host) -> Host:
    """Six releases of knee, the last one live; each has an env, a model, code and configuration of its own."""
    for day in range(1, 7):
        envs = [host.env(f"app{day}", [f"python-3.{day}-h0_0", "shared-1-h0_0"])]
        host.model(f"nnunet@{day}", f"weights {day}")
        host.release("knee", day, envs=envs, models=[f"nnunet@{day}"])
    host.live("knee", "20260106T120000Z-0000006", "20260105T120000Z-0000005")
    return host


def everything(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


@pytest.mark.parametrize(
    ("releases", "pinned", "newest", "kept"),
    [
        ("abcdef", "f", 0, "f"),
        ("abcdef", "fe", 0, "ef"),
        ("abcdef", "fe", 2, "cdef"),
        ("abcdef", "a", 2, "aef"),  # gone back to the oldest: the newest stay for going forward again
        ("abcdef", "a", 99, "abcdef"),
        ("abcdef", "", 1, "f"),
        ("abcdef", "z", 1, "f"),
        ("abcdef", "fe", -1, "ef"),
        ("", "a", 3, ""),
    ],
)
def test_the_pinned_releases_and_the_newest_others_stay(releases: str, pinned: str, newest: int, kept: str) -> None:
    assert sorted(keep(list(releases), set(pinned), newest)) == list(kept)


def test_what_only_old_releases_needed_goes_with_them(knee: Host) -> None:
    done = knee.collect(1)
    assert knee.releases("knee") == [4, 5, 6]
    assert knee.inside("opt/farrier/knee/code") == [f"app-{day:012}" for day in (4, 5, 6)]
    assert knee.inside("opt/farrier/knee/config") == [f"pipelines-{day:012}.json" for day in (4, 5, 6)]
    assert [name[:4] for name in knee.inside("opt/farrier/envs")] == ["app4", "app5", "app6"]
    assert knee.inside("srv/models/nnunet") == ["4", "5", "6"]
    assert len(list(knee.models.glob(".store/sha256/ab/*"))) == 3
    cached = [name for name in knee.inside("opt/farrier/cache/conda") if not name.endswith(".lock")]
    assert cached == ["python-3.4-h0_0", "python-3.5-h0_0", "python-3.6-h0_0", "shared-1-h0_0"]
    assert done.left == ()
    assert str(done).startswith(f"{len(done.removed)} removed, ")


def test_a_second_run_finds_nothing(knee: Host) -> None:
    knee.collect(1)
    before = everything(knee.root)
    assert knee.collect(1) == Collected()
    assert everything(knee.root) == before


def test_a_release_that_anything_in_the_state_names_stays_with_all_it_needs(knee: Host) -> None:
    live, earlier = "20260106T120000Z-0000006", "20260102T120000Z-0000002"
    knee.live("knee", live, "20260101T120000Z-0000001", earlier=earlier, followers={}, alone={})
    knee.collect(0)
    assert knee.releases("knee") == [1, 2, 6]
    assert knee.inside("srv/models/nnunet") == ["1", "2", "6"]


def test_a_release_staged_again_is_the_newest(knee: Host) -> None:
    age(knee.layout.release("knee", "20260101T120000Z-0000001"), time.time())
    knee.collect(1)
    assert knee.releases("knee") == [1, 5, 6]


def test_what_another_stack_needs_stays(knee: Host) -> None:
    other = f"app1-{digest('app1')}"
    knee.live("hello", knee.release("hello", 1, envs=[other], models=["nnunet@2"]))
    knee.collect(0)
    assert other in knee.inside("opt/farrier/envs")
    assert knee.inside("srv/models/nnunet") == ["2", "5", "6"]


def test_only_the_chosen_stacks_lose_releases(knee: Host) -> None:
    for day in (1, 2, 3):
        knee.release("hello", day)
    knee.live("hello", "20260103T120000Z-0000003")
    knee.collect(0, stacks=["knee"])
    assert (knee.releases("knee"), knee.releases("hello")) == ([5, 6], [1, 2, 3])
    assert len(knee.inside("opt/farrier/hello/code")) == 3


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ('{"phase": "unconfirmed", "active": "20260106T120000Z-0000006"}', "an activation is open"),
        (f'{{"phase": "confirmed", "active": "{LIVE}", "followers": {{"w": {{}}}}}}', "a worker runs an older release"),
        (f'{{"phase": "confirmed", "active": "{LIVE}", "alone": {{"w": "why"}}}}', "a worker runs an older release"),
        ('{"phase": "confirmed", "active": null}', "none of its releases is live"),
        ('{"phase": "confirmed", "active": "gone"}', "none of its releases is live"),
        ('{"phase": "confi', "cannot be read"),
        ("[]", "cannot be read"),
    ],
)
def test_a_stack_whose_state_leaves_a_doubt_keeps_all(knee: Host, state: str, why: str) -> None:
    (knee.farrier / "knee" / "state.json").write_text(state)
    before = everything(knee.farrier)
    done = knee.collect(0)
    assert (done.removed, everything(knee.farrier)) == ((), before)
    assert why in done.left[0]


@pytest.mark.parametrize("plan", ["", "[]", "{}", '{"envs": ["a"]}', None])
def test_a_damaged_plan_keeps_all_that_is_shared(knee: Host, plan: str | None) -> None:
    file = knee.layout.release("knee", "20260105T120000Z-0000005") / "plan.json"
    file.unlink() if plan is None else file.write_text(plan)
    done = knee.collect(0)
    assert knee.releases("knee") == [5, 6]
    assert len(knee.inside("opt/farrier/envs")) == len(knee.inside("srv/models/nnunet")) == 6
    assert len(knee.inside("opt/farrier/knee/code")) == 6
    assert any("left alone; deploy that stack again" in line for line in done.left)


def test_a_damaged_plan_of_a_release_that_goes_does_no_harm(knee: Host) -> None:
    (knee.layout.release("knee", "20260101T120000Z-0000001") / "plan.json").write_text("")
    knee.collect(0)
    assert len(knee.inside("opt/farrier/envs")) == 2


def test_what_a_deploy_has_just_asked_for_stays(host: Host) -> None:
    """Envs and models come before the release that needs them is there."""
    host.live("knee", host.release("knee", 1))
    host.env("fresh", when=time.time())
    host.model("fresh@1", "weights", when=time.time())
    host.collect(0)
    assert len(host.inside("opt/farrier/envs")) == len(host.inside("srv/models/fresh")) == 1
    host.collect(0, unused_for=-1)
    assert host.inside("opt/farrier/envs") == []
    assert host.inside("srv/models") == [".store", "fresh"]


def test_a_release_that_is_being_staged_counts(host: Host) -> None:
    host.live("knee", host.release("knee", 1))
    env = host.env("app")
    staging = host.layout.release("knee", host.release("knee", 2, envs=[env]))
    part = staging.rename(f"{staging}.part")
    age(part, time.time())
    host.collect(0)
    assert host.inside("opt/farrier/envs") == [env]
    (part / "plan.json").unlink()  # not written yet
    age(part, time.time())
    host.collect(0)
    assert host.inside("opt/farrier/envs") == [env]
    age(part)  # cut a week ago
    host.collect(0)
    assert host.inside("opt/farrier/envs") == []
    assert host.releases("knee") == [1]


@pytest.fixture
def sleeper(knee: Host) -> Iterator[Path]:
    """A program that runs from the env of the first release, in the code of the second."""
    prefix = knee.farrier / "envs" / f"app1-{digest('app1')}"
    program = prefix / "sleep"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    age(prefix)
    code = knee.farrier / "knee/code" / f"app-{2:012}"
    process = subprocess.Popen([program, "600"], cwd=code, env={"MODEL": f"{knee.models}/nnunet/3/weights"})
    yield prefix
    process.kill()
    process.wait()


def test_nothing_goes_that_a_process_runs_from(knee: Host, sleeper: Path) -> None:
    knee.collect(0, proc=Path("/proc"))
    assert sleeper.is_dir()
    assert knee.inside("opt/farrier/knee/code") == [f"app-{day:012}" for day in (2, 5, 6)]
    assert knee.inside("srv/models/nnunet") == ["3", "5", "6"]


@pytest.mark.parametrize(
    "file",
    [
        "etc/systemd/system/own.service",
        "etc/systemd/system/knee-web.service.d/override.conf",
        "run/systemd/system/knee-web-next.service",
        "etc/caddy/sites/x.d/own.caddy",
    ],
)
def test_nothing_goes_that_a_unit_or_site_names(knee: Host, file: str) -> None:
    env = f"app1-{digest('app1')}"
    (knee.root / file).parent.mkdir(parents=True)
    (knee.root / file).write_text(f'ExecStart="/opt/farrier/envs/{env}/bin/python" -m x /srv/models/nnunet/2\n')
    knee.collect(0)
    assert env in knee.inside("opt/farrier/envs")
    assert knee.inside("srv/models/nnunet") == ["2", "5", "6"]


def test_a_longer_name_is_not_taken_for_a_use(knee: Host) -> None:
    unit = knee.root / "etc/systemd/system/own.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("ExecStart=/srv/models/nnunet/22/weights\n")
    knee.collect(0)
    assert knee.inside("srv/models/nnunet") == ["5", "6"]


def test_what_farrier_did_not_make_is_never_touched(knee: Host) -> None:
    own = [
        "opt/farrier/envs/my-notebook/bin/python",
        f"opt/farrier/envs/copied-{digest('c')}/.ready",  # of another env: a copy that somebody made
        "opt/farrier/knee/releases/backup/plan.txt",
        "opt/farrier/knee/code/experiment/a.py",
        "opt/farrier/knee/config/notes.txt",
        "opt/farrier/cache/conda/readme.txt",
        "srv/models/own/1/weights",
        "srv/models/readme.txt",
        "srv/models/.store/sha256/ab/note",
    ]
    for name in own:
        path = knee.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"id": "other"}')
        age(path)
        age(path.parent)
    link = knee.farrier / "envs" / f"link-{digest('l')}"
    link.symlink_to(knee.root / "srv")
    age(link)
    knee.collect(0)
    assert [name for name in own if not (knee.root / name).exists()] == []
    assert link.is_symlink()


def test_links_inside_are_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep/file").write_text("x")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "to-folder").symlink_to(tmp_path / "keep")
    (folder / "to-file").symlink_to(tmp_path / "keep/file")
    delete(folder)
    assert not folder.exists()
    assert (tmp_path / "keep/file").exists()


def test_leftovers_of_cut_runs_go(knee: Host) -> None:
    unfinished = knee.farrier / "envs" / f"cut-{digest('cut')}"
    aside = knee.farrier / "envs" / f"app6-{digest('app6')}.damaged"
    alone = knee.farrier / "envs" / f"app5-{digest('app5')}.damaged"
    (knee.farrier / "envs" / f"app5-{digest('app5')}" / ".ready").unlink()
    placed, fetched = knee.models / "nnunet/.6.old", knee.models / ".store/partial" / ("f" * 64)
    temporary = knee.farrier / "knee/.farrier-abc"
    for folder in (unfinished, aside, alone, placed):
        folder.mkdir()
    for file in (fetched, temporary):
        file.parent.mkdir(exist_ok=True)
        file.write_text("x")
    left = (unfinished, aside, alone, placed, fetched, temporary)
    for path in left:
        age(path, time.time())
    knee.collect(9)
    assert all(path.exists() for path in left)
    for path in left:
        age(path)
    knee.collect(9)
    # What was set aside and has not been built again is the whole env: the installer brings it back.
    assert [path for path in left if path.exists()] == [alone]


@pytest.mark.parametrize("lock", ["run/farrier-release.lock", "opt/farrier/envs/.lock", "srv/models/.store/.lock"])
def test_who_is_at_work_is_not_disturbed(knee: Host, lock: str) -> None:
    path = knee.root / lock
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        done = knee.collect(0)
    envs, models = len(knee.inside("opt/farrier/envs")), len(knee.inside("srv/models/nnunet"))
    busy = {"run": (6, 6), "opt": (6, 2), "srv": (2, 6)}
    assert (envs, models) == busy[lock[:3]]
    assert len(done.left) == 1
    knee.collect(0)
    assert knee.inside("srv/models/nnunet") == ["5", "6"]


def test_a_stack_that_is_being_deployed_is_not_disturbed(knee: Host) -> None:
    with lock.hold(knee.layout, "knee", "ana", "deploy"):
        done = knee.collect(0)
    assert knee.releases("knee") == [1, 2, 3, 4, 5, 6]
    assert "ana" in done.left[0]


def test_what_cannot_be_removed_is_told_and_the_rest_goes(knee: Host) -> None:
    stuck = knee.farrier / "envs" / f"app1-{digest('app1')}"
    subprocess.run(["mount", "--bind", str(stuck / "conda-meta"), str(stuck / "conda-meta")], check=True)
    try:
        done = knee.collect(0)
    finally:
        mounted = next(path for path in knee.farrier.glob("envs/*app1*/conda-meta"))
        subprocess.run(["umount", str(mounted)], check=True)
    assert any(f"env {stuck.name} stays: Device or resource busy" in line for line in done.left)
    assert knee.releases("knee") == [5, 6]
    knee.collect(0)
    assert len(knee.inside("opt/farrier/envs")) == 2


def test_freed_bytes_are_those_that_the_disk_gets_back(host: Host) -> None:
    host.live("knee", host.release("knee", 1, envs=[host.env("stays", ["shared-1-h0_0"])]))
    host.env("goes", ["shared-1-h0_0", "alone-1-h0_0"])

    def used() -> int:
        files = {path.lstat().st_ino: path.lstat() for path in host.farrier.rglob("*") if path.is_file()}
        return sum(stat.st_blocks for stat in files.values()) * 512

    before = used()
    done = host.collect(0)
    assert done.freed == before - used() > 9000


@pytest.mark.parametrize(("count", "text"), [(5, "5 bytes"), (2048, "2.0 KiB"), (5 * 2**20, "5.0 MiB")])
def test_sizes_are_for_people(count: int, text: str) -> None:
    assert size(count) == text


PROGRAM = """
import sys
from pathlib import Path
from farrier_host.release import lock
from farrier_host.release.collect import collect
from farrier_host.release.layout import Layout
root = Path(sys.argv[1])
collect(Layout(root), 0, print, proc=root / "proc")
"""

TRACED = """
import os, signal
left = [int(sys.argv[2])]
def counted(call):
    def wrapper(*args, **more):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **more)
    return wrapper
for name in ("unlink", "rmdir", "rename"):
    setattr(os, name, counted(getattr(os, name)))
"""


def killed_at(host: Host, step: int) -> bool:
    """Run it, killed by SIGKILL before its call number `step` that changes the disk; False when it ended before."""
    program = PROGRAM.replace("root = ", f"{TRACED}root = ", 1)
    done = subprocess.run([sys.executable, "-c", program, str(host.root), str(step)], check=False, capture_output=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode != 0


def test_killed_at_any_point_it_leaves_nothing_half_and_the_next_run_ends_it(tmp_path: Path) -> None:
    step, cuts = 0, 0
    while True:
        host = Host(tmp_path / str(step))
        for day in (1, 2):
            env = host.env(f"app{day}", [f"python-3.{day}-h0_0"])
            host.model(f"nnunet@{day}", f"weights {day}")
            host.release("knee", day, envs=[env], models=[f"nnunet@{day}"])
        host.live("knee", "20260102T120000Z-0000002")
        was_killed = killed_at(host, step)
        for release in host.layout.home("knee").glob("releases/[0-9]*"):
            assert sorted(path.name for path in release.iterdir()) == ["plan.json", "units"]
        for prefix in host.farrier.glob("envs/[a-z]*"):
            assert sorted(path.name for path in prefix.iterdir()) == [
                ".ready",
                "conda-meta",
                f"python-3.{prefix.name[3]}-h0_0",
            ]
        for model in host.models.glob("nnunet/[0-9]*"):
            assert sorted(path.name for path in model.iterdir()) == [".complete", "weights"]
        host.collect(0)
        assert host.releases("knee") == [2]
        assert [len(host.inside(f"opt/farrier/{folder}")) for folder in ("envs", "knee/code", "knee/config")] == [
            1,
            1,
            1,
        ]
        assert host.inside("srv/models/nnunet") == ["2"]
        assert len(list(host.models.glob(".store/sha256/ab/*"))) == 1
        assert len(list(host.models.glob(".store/sha256/ab/.*"))) == 0
        if not was_killed:
            break
        step, cuts = step + 1, cuts + 1
    assert cuts > 12
