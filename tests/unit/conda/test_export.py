"""`farrier lock --from`: an exported env as spec and locks, or every problem with it and nothing written."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from farrier.conda.cli import exported_spec
from farrier.conda.convert import Converted, lock_export
from farrier.conda.export import unlockable
from farrier.conda.lock import LockError, lock_environment
from farrier.problems import InvalidInput

from .conftest import CHANNEL, Host, SmallChannel, served

CLI = """
import sys, typer
from pathlib import Path
import farrier.conda.cli as cli
cli.REPOSITORY = Path(sys.argv.pop(1))
app = typer.Typer()
app.command()(cli.lock)
app()
"""


@dataclass(frozen=True)
class Index:
    """A package index of made-up wheels."""

    folder: Path
    url: str = ""

    def add(self, name: str, version: str, needs: str = "", tag: str = "py3-none-any") -> None:
        module, project = name.replace("-", "_"), self.folder / name
        project.mkdir(parents=True, exist_ok=True)
        wheel = project / f"{module}-{version}-{tag}.whl"
        info = f"{module}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"{module}.py", f"version = '{version}'\n")
            archive.writestr(f"{info}/METADATA", metadata + (f"Requires-Dist: {needs}\n" if needs else ""))
            archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: {tag}\n")
            archive.writestr(f"{info}/RECORD", "")
        digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(project.glob("*.whl"))}
        links = [f'<a href="{name}#sha256={digest}">{name}</a>' for name, digest in digests.items()]
        (project / "index.html").write_text("\n".join(links))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    folder = tmp_path / "index"
    folder.mkdir()
    with served(folder) as url:
        yield Index(folder, url)


@dataclass(frozen=True)
class Envs:
    """A stack's folder of envs, and the channel and index that locks are made from."""

    folder: Path
    channel: SmallChannel
    index: Index

    def convert(self, export: str, **options: Any) -> Converted:
        """Lock what is exported."""
        path = self.folder.parent / "environment.yml"
        path.write_text(export)
        self.folder.mkdir(exist_ok=True)
        with served(self.channel.folder) as url:
            arguments = {"mirrors": {CHANNEL: url}, "indexes": [self.index.url]} | options
            return lock_export(path, self.folder / "app.yml", self.folder / "app.lock", **arguments)

    def problems(self, export: str, **options: Any) -> list[str]:
        """What is wrong with the export, without the file's name; that nothing was written is asserted."""
        before = {path: path.read_bytes() for path in self.folder.glob("*")}
        with pytest.raises(InvalidInput) as caught:
            self.convert(export, **options)
        assert {path: path.read_bytes() for path in self.folder.glob("*")} == before
        return [str(problem).partition("environment.yml:")[2] for problem in caught.value.problems]

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()


@pytest.fixture
def envs(tmp_path: Path, small: SmallChannel, index: Index) -> Envs:
    small.add("python", version="3.11.2")
    small.add("tool", version="1.0")
    small.add("tool", version="2.0")
    index.add("requests", "2.0")
    return Envs(tmp_path / "envs", small, index)


HEAD = f"name: knee\nprefix: /home/me/envs/knee\nchannels: [{CHANNEL}]\ndependencies:\n"


def test_an_export_becomes_spec_and_both_locks(envs: Envs) -> None:
    made = envs.convert(f"{HEAD}  - python=3.11.2=h0_0\n  - tool=1.0\n  - pip:\n      - requests==2.0\n")
    assert made.packages == ("python=3.11.2=h0_0", "tool=1.0=h0_0")
    assert (made.python_packages, made.notes) == (1, ())
    assert [path.name for path in made.changed] == ["app.yml", "app.in", "app.txt", "app.lock"]
    assert '  - "tool=1.0"' in envs.text("app.yml")
    assert "requests==2.0\n" in envs.text("app.in")
    assert "requests==2.0 \\\n    --hash=sha256:" in envs.text("app.txt")
    assert f"{CHANNEL}/linux-64/tool-1.0-h0_0.conda" in envs.text("app.lock")
    whole = "".join(path.read_text() for path in envs.folder.iterdir())
    assert "127.0.0.1" not in whole
    assert "/home/me" not in whole
    assert "/tmp" not in whole


def test_the_spec_gives_the_same_lock_again(envs: Envs) -> None:
    export = f"{HEAD}  - python=3.11.2=h0_0\n  - tool=1.0=gone_7\n"
    envs.convert(export)
    assert envs.convert(export).changed == ()
    with served(envs.channel.folder) as url:
        spec, lock = envs.folder / "app.yml", envs.folder / "app.lock"
        assert not lock_environment(spec, lock, channel=None, mirrors={CHANNEL: url}).changed


def test_a_build_that_is_gone_is_locked_by_its_version_and_said(envs: Envs) -> None:
    made = envs.convert(f"{HEAD}  - tool=1.0=gone_7\n")
    assert made.packages == ("tool=1.0=h0_0",)
    (note,) = made.notes
    assert note.endswith("environment.yml:5: tool=1.0=gone_7: the channels no longer have this build: locked by its "
                         "version, tool ==1.0")  # fmt: skip


def test_every_problem_is_told_at_once_and_nothing_is_written(envs: Envs) -> None:
    envs.index.add("torch", "1.0")
    envs.convert(f"{HEAD}  - python=3.11.2\n")
    envs.channel.add("gpu", depends=["__cuda >=12.4"])
    found = envs.problems(
        f"{HEAD}"
        "  - python=3.11.2\n"
        "  - absent=1.0=h0_0\n"
        "  - tool=3.0\n"
        "  - gpu=1.0=h0_0\n"
        "  - not?a=name\n"
        "  - pip:\n"
        "      - -e /home/me/mine\n"
        "      - requests==9.9\n"
        "      - nowhere==1.0\n"
        "      - torch==1.0+cu124\n"
    )
    told = [[*line.split(": ")[:2], line.split(": ")[2][:30]] for line in found]
    assert told == [
        ["6", "absent=1.0=h0_0", "no package of this name in htt"],
        ["7", "tool=3.0", "no such version"],
        ["8", "gpu=1.0=h0_0", "needs __cuda >=12.4, and no GP"],
        ["9", "not?a=name", "not a conda dependency (invali"],
        ["11", "-e /home/me/mine", "an editable install is a folde"],
        ["12", "requests==9.9", "no package index has this vers"],
        ["13", "nowhere==1.0", "no package index has it"],
        ["14", "torch==1.0+cu124", "a build of an index of its own"],
    ]
    assert "write one of tool=2.0, tool=1.0" in found[1]
    assert "such as --cuda 12.4" in found[2]
    assert "or write torch==1.0" in found[7]


def test_a_python_package_without_a_wheel_for_the_hosts_is_told(envs: Envs) -> None:
    envs.index.add("winonly", "1.0", tag="cp311-cp311-win_amd64")
    (told,) = envs.problems(f"{HEAD}  - python=3.11.2\n  - pip:\n      - winonly==1.0\n")
    assert told.startswith("7: winonly==1.0: no wheel for Linux and Python 3.11, and hosts build nothing")


def test_a_gpu_env_is_locked_without_a_gpu(envs: Envs) -> None:
    envs.channel.add("gpu", depends=["__cuda >=12.4"])
    assert "--cuda says 12.1" in envs.problems(f"{HEAD}  - gpu=1.0\n", cuda="12.1")[0]
    assert envs.convert(f"{HEAD}  - gpu=1.0\n", cuda="12.4").packages == ("gpu=1.0=h0_0",)


def test_a_package_for_newer_hosts_is_told(envs: Envs) -> None:
    envs.channel.add("future", depends=["__glibc >=2.41"])
    assert "needs __glibc >=2.41, and the hosts have 2.36" in envs.problems(f"{HEAD}  - future\n")[0]
    assert envs.convert(f"{HEAD}  - future\n", glibc="2.41").packages == ("future=1.0=h0_0",)


def test_a_package_of_another_platform_is_told(envs: Envs) -> None:
    envs.channel.add("vc")
    (envs.channel.folder / "win-64").mkdir()
    linux = envs.channel.folder / "linux-64" / "repodata.json"
    text = linux.read_text()
    (envs.channel.folder / "win-64" / "repodata.json").write_text(text.replace('"linux-64"', '"win-64"'))
    envs.channel.entries = {name: entry for name, entry in envs.channel.entries.items() if not name.startswith("vc-")}
    envs.channel.add("other")
    (told,) = envs.problems(f"{HEAD}  - vc=1.0\n")
    assert told.startswith("5: vc=1.0: only for win-64, and the hosts are linux-64: remove it")


def test_python_packages_of_the_conda_part_keep_its_versions(envs: Envs) -> None:
    """An export names numpy in the conda part alone; pip's packages need it, too, and must not bring a newer one."""
    envs.channel.add("numpy", depends=["python"], version="1.5")
    for version in ("1.5", "2.5"):
        envs.index.add("numpy", version)
    envs.index.add("scan", "1.0", needs="numpy")
    export = f"{HEAD}  - python=3.11.2\n  - numpy=1.5\n  - pip:\n      - scan==1.0\n"
    envs.convert(export)
    assert "numpy==1.5 \\" in envs.text("app.txt")
    assert envs.text("app.in").splitlines()[-2:] == [
        "# Packages above need these, and the conda part brings them in these versions.",
        "numpy==1.5",
    ]
    envs.convert(f"{export}      - numpy==2.5\n")  # pip had replaced conda's
    assert "numpy==2.5 \\" in envs.text("app.txt")


def test_python_packages_that_do_not_go_together_leave_the_old_locks(envs: Envs) -> None:
    envs.index.add("scan", "1.0", needs="requests>=3")
    envs.convert(f"{HEAD}  - python=3.11.2\n")
    before = envs.text("app.lock")
    with pytest.raises(LockError, match=r"its `pip:` part does not go together: .*scan depend on requests>=3"):
        envs.convert(f"{HEAD}  - python=3.11.2\n  - tool\n  - pip: [scan==1.0, requests==2.0]\n")
    assert envs.text("app.lock") == before


def test_an_old_pip_lock_does_not_outlive_an_export_without_pip(envs: Envs) -> None:
    envs.convert(f"{HEAD}  - python=3.11.2\n  - pip: [requests==2.0]\n")
    envs.convert(f"{HEAD}  - python=3.11.2\n")
    assert envs.text("app.txt") == ""
    assert "requests" not in envs.text("app.in")


def test_pip_without_python_is_told(envs: Envs) -> None:
    assert "the conda part has no Python" in envs.problems(f"{HEAD}  - tool\n  - pip: [requests==2.0]\n")[0]


def test_conda_s_own_channels_and_variables_are_left_out_and_said(envs: Envs) -> None:
    export = HEAD.replace(f"[{CHANNEL}]", f"[defaults, {CHANNEL}, nodefaults]")
    made = envs.convert(f"{export}  - tool=1.0\nvariables:\n  OMP_NUM_THREADS: 4\n")
    assert [note.partition("environment.yml:")[2][:40] for note in made.notes] == [
        "7: OMP_NUM_THREADS: left out: write it u",
        "3: defaults: left out: only conda's own ",
    ]
    assert "defaults" not in envs.text("app.yml")
    alone = envs.problems(f"{HEAD}  - tool=1.0\n".replace(CHANNEL, "defaults"))
    assert "write names or URLs of channels instead of `defaults`" in alone[0]


def test_a_package_of_a_later_channel_is_found_although_an_earlier_one_has_others(envs: Envs, tmp_path: Path) -> None:
    other = SmallChannel(tmp_path / "other" / "channel")
    other.add("tool", version="7.0")
    second = "https://channel.test/second"
    head = HEAD.replace(f"[{CHANNEL}]", f"[{CHANNEL}, {second}]")
    with served(other.folder) as there, served(envs.channel.folder) as here:
        mirrors = {CHANNEL: here, second: there}
        assert envs.convert(f"{head}  - tool=7.0\n", mirrors=mirrors).packages == ("tool=7.0=h0_0",)
        spec, lock = envs.folder / "app.yml", envs.folder / "app.lock"
        assert not lock_environment(spec, lock, channel=None, mirrors=mirrors).changed


@pytest.mark.parametrize(
    ("requirement", "word"),
    [
        ("-e .", "editable"),
        ("--editable=../mine", "editable"),
        ("-e git+https://git.example/x#egg=x", "commit"),
        ("mine @ git+ssh://git@git.example/x", "commit"),
        ("mine @ file:///home/me/mine", "path"),
        ("./mine", "path"),
        ("/home/me/mine.whl", "path"),
        ("dist/mine-1.0-py3-none-any.whl", "path"),
        ("mine-1.0-py3-none-any.whl", "path"),
        ("mine @ https://files.example/mine.whl", "address"),
        ("-r requirements.txt", "another file"),
        ("--extra-index-url https://x", "option"),
    ],
)
def test_what_no_lock_can_hold_is_told_apart(requirement: str, word: str) -> None:
    assert word in str(unlockable(requirement))


@pytest.mark.parametrize(
    "requirement", ["numpy==1.26.4", "uvicorn[standard]==0.30", "numpy", "tomli==2.0; python_version < '3.11'"]
)
def test_what_a_lock_can_hold_is_let_through(requirement: str) -> None:
    assert unlockable(requirement) is None


def test_a_new_env_of_a_known_stack_is_taken(tmp_path: Path) -> None:
    (tmp_path / "stacks/knee").mkdir(parents=True)
    (tmp_path / "stacks/knee/stack.yml").touch()
    assert exported_spec(tmp_path, ["knee/new"]) == ("knee/new", tmp_path / "stacks/knee/envs/new.yml")
    with pytest.raises(LockError, match="did you mean 'knee'"):
        exported_spec(tmp_path, ["kne/new"])
    with pytest.raises(LockError, match="--from is for one env"):
        exported_spec(tmp_path, ["knee/a", "knee/b"])
    with pytest.raises(LockError, match="write <stack>/<env>"):
        exported_spec(tmp_path, ["knee"])


def test_command_tells_what_it_made_and_what_it_could_not(envs: Envs, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    (repository / "stacks/knee").mkdir(parents=True)
    (repository / "stacks/knee/stack.yml").touch()
    export = tmp_path / "environment.yml"
    with served(envs.channel.folder) as url:
        words = ["knee/pipeline", "--from", str(export), "--mirror", f"{CHANNEL}={url}", "--index", envs.index.url]
        command = [sys.executable, "-c", CLI, str(repository), *words]
        export.write_text(f"{HEAD}  - tool=1.0=gone_7\n  - python=3.11.2\n  - pip: [requests==2.0]\n")
        done = subprocess.run(command, check=False, text=True, capture_output=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert "tool=1.0=gone_7: the channels no longer have this build" in done.stdout
        assert "knee/pipeline: 2 packages and 1 Python packages" in done.stdout
        assert (repository / "stacks/knee/envs/pipeline.lock").exists()
        export.write_text(f"{HEAD}  - tool=9.0\n")
        done = subprocess.run(command, check=False, text=True, capture_output=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"1 problem, nothing was changed:\n  {export}:5: tool=9.0: no such version")


def test_the_locks_of_an_export_install(envs: Envs, host: Host) -> None:
    envs.convert(f"{HEAD}  - tool=1.0\n")
    with served(envs.channel.folder) as url:
        env = host.env("app-1", envs.text("app.lock"))
        assert host.state(env, url) == "built"
    assert (host.envs / "app-1/share/tool").is_file()
