from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from farrier_env.check import summary
from farrier_env.conda import lacks

from .conftest import CHANNEL, HELLO, Host, Json, SmallChannel, served

WEB = (HELLO / "web.txt").read_text()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def times(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}


def prefixes(host: Host) -> list[str]:
    return sorted(path.name for path in host.envs.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def web_host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A host that the tests of hello's whole env share, one after the other."""
    return Host(tmp_path_factory.mktemp("web"))


@pytest.fixture
def web(web_host: Host, python_lock: str, mirror: str) -> Json:
    """Hello's env, whole, with conda's Python and the packages of uv."""
    env = web_host.env("web-0", python_lock, WEB)
    assert web_host.state(env, mirror) in {"built", "present", "repaired"}
    return env


def python_says(env: Json, program: str) -> str:
    command = [f"{env['prefix']}/bin/python", "-I", "-c", program]
    return subprocess.run(command, check=True, text=True, capture_output=True, cwd="/").stdout.strip()


def test_env_runs_from_its_own_prefix(web: Json) -> None:
    program = "import sys, ssl, sqlite3, ctypes, lzma, zoneinfo, uvicorn; print(sys.prefix, uvicorn.__file__)"
    prefix = web["prefix"]
    assert python_says(web, program) == f"{prefix} {prefix}/lib/python3.11/site-packages/uvicorn/__init__.py"
    assert subprocess.run([f"{prefix}/bin/gunicorn", "--version"], check=True, capture_output=True)


def test_nobody_but_root_can_write_to_it(web: Json) -> None:
    open_to_others = [
        path for path in Path(web["prefix"]).rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o022
    ]
    unreadable = [path for path in Path(web["prefix"], "lib").rglob("*") if not path.stat().st_mode & 0o004]
    assert open_to_others == unreadable == []


def test_second_run_changes_nothing(web_host: Host, web: Json, mirror: str) -> None:
    before = times(Path(web["prefix"]))
    assert web_host.state(web, mirror) == "present"
    assert times(Path(web["prefix"])) == before


def test_a_deploy_that_finds_it_notes_that_it_was_asked_for(web_host: Host, web: Json, mirror: str) -> None:
    os.utime(web["prefix"], (0, 0))
    assert web_host.state(web, mirror, mode="verify") == "present"
    assert Path(web["prefix"]).stat().st_mtime == 0
    assert web_host.state(web, mirror) == "present"
    assert Path(web["prefix"]).stat().st_mtime > time.time() - 60


def test_drift_is_found_and_repaired_although_the_cache_shares_the_files(
    web_host: Host, web: Json, mirror: str
) -> None:
    python = Path(web["prefix"]) / "lib" / "python3.11"
    same_size, longer = python / "site-packages" / "h11" / "_version.py", python / "json" / "decoder.py"
    whole = {path: path.read_bytes() for path in (same_size, longer)}

    same_size.write_bytes(whole[same_size].swapcase())
    assert web_host.state(web, mirror, mode="verify", depth="fast") == "present"
    assert web_host.state(web, mirror, mode="verify", depth="full") == "damaged"
    longer.write_bytes(whole[longer] + b"broken")
    assert web_host.state(web, mirror, mode="verify", depth="fast") == "damaged"

    assert web_host.state(web, mirror) == "repaired"
    assert {path: path.read_bytes() for path in whole} == whole
    assert web_host.state(web, mirror, depth="full") == "present"


def test_a_package_gone_with_its_record_is_noticed(web_host: Host, web: Json, mirror: str) -> None:
    shutil.rmtree(next(Path(web["prefix"]).glob("lib/python3.11/site-packages/h11-*.dist-info")))
    assert web_host.state(web, mirror, mode="verify") == "damaged"


def test_wrong_hash_of_a_python_package_leaves_nothing(host: Host, python_lock: str, mirror: str) -> None:
    wrong = "h11==0.16.0 --hash=sha256:" + "0" * 64
    message = host.error(host.env("web-1", python_lock, wrong), mirror)
    assert "env web-1: its Python packages cannot be installed" in message
    assert "h11" in message
    assert prefixes(host) == []


def test_incomplete_prefix_is_built_anew(host: Host, small: SmallChannel) -> None:
    small.add("tool")
    env = host.env("tool-1", small.lock("tool"))
    leftover = Path(env["prefix"]) / "share" / "leftover"
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    with served(small.folder) as mirror:
        assert host.state(env, mirror) == "built"
    assert not leftover.exists()


def damage(package: Path) -> None:
    content = bytearray(package.read_bytes())
    content[len(content) // 2] ^= 0xFF
    package.write_bytes(content)


def test_damaged_package_leaves_the_other_envs_and_nothing_of_its_own(host: Host, small: SmallChannel) -> None:
    package = small.add("tool")
    small.add("other")
    old, new = host.env("old-1", small.lock("other")), host.env("new-1", small.lock("tool"))
    with served(small.folder) as mirror:
        assert host.state(old, mirror) == "built"
        before = times(Path(old["prefix"]))
        damage(package)
        message = host.error(new, mirror)
    assert "env new-1: a conda package cannot be installed" in message
    assert package.name in message
    assert prefixes(host) == ["old-1"]
    assert times(Path(old["prefix"])) == before


def test_wrong_hash_in_the_lock_is_refused(host: Host, small: SmallChannel) -> None:
    small.add("tool")
    lock = small.lock("tool")
    sha = lock.partition("sha256: ")[2][:64]
    with served(small.folder) as mirror:
        message = host.error(host.env("tool-1", lock.replace(sha, "0" * 64)), mirror)
    assert "hash mismatch" in message
    assert prefixes(host) == []


def test_changed_package_of_a_local_channel_is_refused(host: Host, small: SmallChannel) -> None:
    package = small.add("tool")
    lock = small.lock("tool", local=True)
    assert host.state(host.env("tool-1", lock)) == "built"
    damage(package)
    assert f"{package.name} has sha256" in host.error(host.env("tool-2", lock))
    assert prefixes(host) == ["tool-1"]


def test_failed_repair_brings_back_what_was_there(host: Host, small: SmallChannel) -> None:
    small.add("tool")
    env = host.env("tool-1", small.lock("tool"))
    with served(small.folder) as mirror:
        assert host.state(env, mirror) == "built"
    (Path(env["prefix"]) / "share" / "tool").write_text("changed\n")
    before = contents(Path(env["prefix"]))
    shutil.rmtree(host.root / "cache")
    assert "env tool-1: a conda package cannot be installed" in host.error(env, mirror)
    assert contents(Path(env["prefix"])) == before
    assert prefixes(host) == ["tool-1"]


def test_crash_in_the_middle_of_a_repair_is_recovered(host: Host, small: SmallChannel) -> None:
    small.add("tool")
    env = host.env("tool-1", small.lock("tool"))
    prefix = Path(env["prefix"])
    with served(small.folder) as mirror:
        assert host.state(env, mirror) == "built"
        prefix.rename(f"{prefix}.damaged")
        (prefix / "share").mkdir(parents=True)
        assert host.state(env, mirror) == "present"
    assert prefixes(host) == ["tool-1"]
    assert (prefix / "share" / "tool").read_text() == "hello\n"


def test_unreachable_channel_is_named(host: Host, small: SmallChannel) -> None:
    small.add("tool")
    env = host.env("tool-1", small.lock("tool"))
    with served(small.folder) as mirror:
        pass
    assert f"{CHANNEL} is fetched from {mirror}" in host.error(env, mirror)
    assert prefixes(host) == []


def test_too_little_room_is_refused_before_anything_is_fetched(tiny_disk: Path, python_lock: str, mirror: str) -> None:
    host = Host(tiny_disk)
    message = host.error(host.env("web-1", python_lock, disk=600 * 2**20), mirror)
    assert f"env web-1 needs 600 MiB in {host.envs}" in message
    assert not (tiny_disk / "cache").exists()


def test_full_disk_leaves_the_old_env_and_nothing_half(
    tiny_disk: Path, small: SmallChannel, python_lock: str, mirror: str
) -> None:
    host = Host(tiny_disk)
    small.add("tool")
    old = host.env("old-1", small.lock("tool"))
    with served(small.folder) as small_mirror:
        assert host.state(old, small_mirror) == "built"
    before = times(Path(old["prefix"]))
    message = host.error(host.env("web-1", python_lock, disk=1), mirror)
    assert message.startswith("env web-1: the disk of")
    assert "became full" in message
    assert prefixes(host) == ["old-1"]
    assert times(Path(old["prefix"])) == before


def test_host_with_an_older_glibc_is_refused(host: Host, small: SmallChannel) -> None:
    small.add("future", depends=["__glibc >=99"])
    message = host.error(host.env("future-1", small.lock("future", glibc="99")))
    assert "env future-1 does not fit this host: future needs glibc >=99, this host has" in message
    assert prefixes(host) == []


def test_host_without_a_driver_is_refused_gpu_packages() -> None:
    assert lacks("torch", ["__cuda >=12.4", "python"], {}) == [
        "torch needs the NVIDIA driver's CUDA >=12.4, which this host does not have"
    ]


def test_an_installer_waits_for_another_one(host: Host, small: SmallChannel) -> None:
    small.add("tool")
    env = host.env("tool-1", small.lock("tool"))
    host.envs.mkdir(parents=True)
    with served(small.folder) as mirror, (host.envs / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        process = host.start(env, mirror)
        assert process.stderr is not None
        assert process.stderr.readline() == f"waiting for another installer in {host.envs}\n"
        assert prefixes(host) == []
        fcntl.flock(other, fcntl.LOCK_UN)
        answer = json.loads(process.communicate()[0])
    assert answer["envs"][0]["state"] == "built"


def test_looking_at_an_absent_env_touches_nothing(host: Host, small: SmallChannel) -> None:
    small.add("tool")
    assert host.state(host.env("tool-1", small.lock("tool")), mode="verify") == "absent"
    assert not host.root.exists()


def test_installed_files_do_not_depend_on_the_callers_umask(host: Host, small: SmallChannel) -> None:
    small.add("tool")
    env = host.env("tool-1", small.lock("tool"))
    old = os.umask(0o077)
    try:
        with served(small.folder) as mirror:
            assert host.state(env, mirror) == "built"
    finally:
        os.umask(old)
    assert (Path(env["prefix"]) / "share" / "tool").stat().st_mode & 0o004
    assert Path(env["prefix"]).stat().st_mode & 0o005


def test_a_message_stays_short() -> None:
    assert summary([f"file {index}" for index in range(7)]).endswith("file 4 and 2 more")
