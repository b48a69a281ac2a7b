from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from testbed import host
from testbed.cgroup import find_mount
from testbed.shell import DriverError


def test_what_is_the_hosts_own_lies_above_its_image(tmp_path: Path) -> None:
    host.prepare(tmp_path / "upper", "pegasus", "ssh-ed25519 AAAA\n")
    assert (tmp_path / "upper/etc/hostname").read_text() == "pegasus\n"
    assert "127.0.1.1 pegasus" in (tmp_path / "upper/etc/hosts").read_text()
    assert (tmp_path / "upper/root/.ssh/authorized_keys").read_text() == "ssh-ed25519 AAAA\n"


def test_sshd_accepts_the_modes_of_roots_folders_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o007)
    try:
        host.prepare(tmp_path / "upper", "pegasus", "key")
    finally:
        os.umask(before)
    modes = {
        name: stat.S_IMODE((tmp_path / "upper" / name).stat().st_mode) for name in ("", "etc", "root", "root/.ssh")
    }
    assert modes == {"": 0o755, "etc": 0o755, "root": 0o700, "root/.ssh": 0o700}
    assert stat.S_IMODE((tmp_path / "upper/etc/hosts").stat().st_mode) == 0o644


@pytest.mark.parametrize("name", ["", "Pegasus", "-a", "a-", "../etc", "a b", "a" * 43])
def test_names_that_could_hurt_are_refused(name: str) -> None:
    with pytest.raises(DriverError, match="no host name"):
        host.down(name)


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n", Path("/sys/fs/cgroup")),
        (
            "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
            Path("/sys/fs/cgroup/unified"),
        ),
        ("proc /proc proc rw 0 0\n", None),
    ],
)
def test_cgroup_version_2_is_found_alone_and_beside_version_1(mounts: str, expected: Path | None) -> None:
    assert find_mount(mounts) == expected
