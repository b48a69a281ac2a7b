from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from farrier.conda.cli import choose, lock_path, parse_mirror
from farrier.conda.lock import LockError, lock_environment
from farrier.problems import InvalidInput

from .conftest import CHANNEL, SmallChannel, served

CLI = "import typer; from farrier.conda.cli import lock; app = typer.Typer(); app.command()(lock); app()"


def spec(folder: Path, text: str) -> Path:
    path = folder / "app.yml"
    path.write_text(text)
    return path


def run_cli(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", CLI, *words], check=False, text=True, capture_output=True)


def test_lock_names_the_channel_and_not_the_mirror(python_lock: str, mirror: str) -> None:
    assert f"{CHANNEL}/linux-64/python-3.11" in python_lock
    assert "sha256: " in python_lock
    assert mirror not in python_lock


def test_same_inputs_same_bytes(tmp_path: Path, mirror: str, python_lock: str) -> None:
    path, out = spec(tmp_path, "channels: [conda-forge]\ndependencies: [python=3.11]\n"), tmp_path / "app.lock"
    assert lock_environment(path, out, channel=CHANNEL, mirrors={CHANNEL: mirror}).changed
    assert out.read_text() == python_lock
    assert not lock_environment(path, out, channel=CHANNEL, mirrors={CHANNEL: mirror}).changed


def test_time_of_indexing_stays_out(small: SmallChannel) -> None:
    small.add("tool")
    before = small.lock("tool")
    repodata = small.folder / "linux-64" / "repodata.json"
    document = json.loads(repodata.read_text())
    for entry in document["packages.conda"].values():
        entry["indexed_timestamp"] = 1767225600000
    repodata.write_text(json.dumps(document))
    assert small.lock("tool") == before


def test_python_packages_are_sent_to_their_own_file(tmp_path: Path) -> None:
    path = spec(tmp_path, "channels: [conda-forge]\ndependencies:\n  - python=3.11\n  - pip:\n      - numpy\n")
    with pytest.raises(InvalidInput, match=r"app\.yml:4: dependencies\[1\]: Python packages stand in app\.in"):
        lock_environment(path, tmp_path / "app.lock", channel=None, mirrors={})


def test_misspelt_key_is_named(tmp_path: Path) -> None:
    path = spec(tmp_path, "channel: [conda-forge]\ndependencies: [python=3.11]\n")
    with pytest.raises(InvalidInput, match=r"app\.yml:1: channel: unknown key 'channel'"):
        lock_environment(path, tmp_path / "app.lock", channel=None, mirrors={})


def test_unsatisfiable_spec_leaves_the_old_lock(tmp_path: Path, mirror: str) -> None:
    path, out = spec(tmp_path, "channels: [conda-forge]\ndependencies: [python=3.10]\n"), tmp_path / "app.lock"
    out.write_text("old")
    with pytest.raises(LockError, match=r"nothing in https://channel\.test/local/ satisfies it(.|\n)*python"):
        lock_environment(path, out, channel=CHANNEL, mirrors={CHANNEL: mirror})
    assert out.read_text() == "old"


def test_unreachable_channel_is_named(tmp_path: Path, small: SmallChannel) -> None:
    small.add("tool")
    with served(small.folder) as url:
        gone = url
    path, out = spec(tmp_path, f"channels: [{CHANNEL}]\ndependencies: [tool]\n"), tmp_path / "app.lock"
    with pytest.raises(LockError, match=rf"cannot read the channel {CHANNEL}(.|\n)*is fetched from {gone}"):
        lock_environment(path, out, channel=None, mirrors={CHANNEL: gone})
    assert not out.exists()


def test_gpu_packages_lock_on_a_machine_without_gpu(small: SmallChannel) -> None:
    small.add("needs-gpu", depends=["__cuda >=12"])
    with pytest.raises(LockError, match="__cuda"):
        small.lock("needs-gpu")
    assert "__cuda >=12" in small.lock("needs-gpu", cuda="12.4")


def test_locks_go_beside_the_spec_or_into_a_folder() -> None:
    path = Path("stacks/knee/envs/app.yml")
    assert lock_path("knee/app", path, None) == Path("stacks/knee/envs/app.lock")
    assert lock_path("knee/app", path, Path("build/locks")) == Path("build/locks/knee/envs/app.lock")


def test_unknown_env_is_answered_with_the_nearest() -> None:
    with pytest.raises(LockError, match=r"no env 'knee/ap': did you mean 'knee/app'\?"):
        choose({"knee/app": Path("app.yml")}, ["knee/ap"], every=False)


@pytest.mark.parametrize("pair", ["https://a", "a=b", "https://a=/srv/channel"])
def test_mirror_must_be_two_urls(pair: str) -> None:
    with pytest.raises(LockError, match="write URL=URL"):
        parse_mirror(pair)


def test_command_locks_every_env(tmp_path: Path, mirror: str, python_lock: str) -> None:
    done = run_cli("--all", "--channel", CHANNEL, "--mirror", f"{CHANNEL}={mirror}", "--locks", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "hello" / "envs" / "web.lock").read_text() == python_lock
    assert "hello/web: 2 packages" in done.stdout


def test_command_fails_with_one_message() -> None:
    done = run_cli("hello/wep")
    assert done.returncode == 1
    assert done.stderr == "there is no env 'hello/wep': did you mean 'hello/web'?\n"
