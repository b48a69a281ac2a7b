"""A rotation's files, at each point where it may be cut, with a real Redis that reads them."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from ansible.module_utils.farrier_accounts import is_whole, make_secret

from farrier_host.release import rotate, state, systemd
from farrier_host.release.files import Refused
from farrier_host.release.layout import Layout
from farrier_host.release.rotate import Rotation, finish_cut, with_hashes
from farrier_host.release.systemd import Seen

UP = Seen("active", "running", "success", "enabled", "1", "", 0, 1, None, 1)


class Stack:
    """A stack's credentials, its Redis, and what systemd handed out."""

    def __init__(self, root: Path) -> None:
        self.root, self.layout, self.given = root, Layout(root), root / "given"
        self.folder = self.layout.credential("knee", "")
        self.folder.mkdir(parents=True)
        self.socket = str(root / "redis.sock")
        made = {"socket": self.socket, "unit": "knee-redis.service", "of": "redis-password"}
        self.acl = {"name": "redis-users.acl", "kind": "redis-acl", "admin": "redis-admin-password"} | made
        self.credentials = [
            {"name": "redis-password", "kind": "password", "of": ""},
            {"name": "redis-admin-password", "kind": "password", "of": ""},
            self.acl,
            {"name": "token", "kind": "given", "of": ""},
        ]
        for each in self.credentials[:3]:
            make_secret(str(self.folder), each)
        folder = self.layout.release("knee", "1")
        folder.mkdir(parents=True)
        plan = {"credentials": self.credentials, "units": [{"service": "web"}, {"service": "worker"}]}
        (folder / "plan.json").write_text(json.dumps(plan))
        state.save(self.layout, "knee", state.State(state.CONFIRMED, "1"))
        self.server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["redis-server", "--port", "0", "--unixsocket", self.socket, "--save", "", "--dir", str(self.root)]
        command += ["--aclfile", str(self.folder / "redis-users.acl")]
        self.server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not Path(self.socket).exists():
            assert time.monotonic() < deadline, "Redis does not start"
            time.sleep(0.02)

    def stop(self) -> None:
        if self.server:
            self.server.kill()
            self.server.wait()
            Path(self.socket).unlink(missing_ok=True)

    def takes(self, password: str) -> bool:
        """Whether Redis takes this password from a new client."""
        try:
            with redis.Redis(unix_socket_path=self.socket, username="app", password=password) as client:
                client.set("a", "b")
        except redis.AuthenticationError:
            return False
        return True

    def password(self) -> str:
        return (self.folder / "redis-password").read_text()

    def hold(self, unit: str, password: str) -> None:
        """As systemd hands it to a unit at its start."""
        (self.given / unit).mkdir(parents=True, exist_ok=True)
        (self.given / unit / "redis-password").write_text(password)

    def rotation(self) -> Rotation:
        return Rotation(self.layout, "knee", "redis-password", lambda _: None)

    def is_whole(self) -> bool:
        return bool(is_whole(str(self.folder), self.acl))


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    if shutil.which("redis-server") is None:
        pytest.fail("redis-server is not installed: apt-get install redis-server")
    made = Stack(tmp_path)
    monkeypatch.setattr(systemd, "look", lambda names: dict.fromkeys(names, UP))
    monkeypatch.setattr(rotate, "_GIVEN", made.given)
    made.start()
    yield made
    made.stop()


def test_both_passwords_are_good_until_nobody_holds_the_old_one(stack: Stack) -> None:
    old, rotation = stack.password(), stack.rotation()
    stack.hold("knee-web.service", old)
    rotation.begin()
    assert stack.password() != old
    assert (stack.takes(old), stack.takes(stack.password())) == (True, True)
    assert not rotation.end(), "a unit still has the old one"
    assert rotation.holders() == ["knee-web.service"]
    stack.hold("knee-web.service", stack.password())
    assert rotation.end()
    assert (stack.takes(old), stack.takes(stack.password())) == (False, True)
    assert sorted(path.name for path in stack.folder.iterdir()) == [
        "redis-admin-password",
        "redis-password",
        "redis-users.acl",
    ]


def test_a_client_that_is_connected_notices_nothing(stack: Stack) -> None:
    with redis.Redis(unix_socket_path=stack.socket, username="app", password=stack.password()) as client:
        client.set("a", "1")
        rotation = stack.rotation()
        rotation.begin()
        assert rotation.end()
        assert client.get("a") == b"1"


def test_a_cut_rotation_goes_on_with_the_same_password(stack: Stack) -> None:
    old = stack.password()
    stack.rotation().begin()
    fresh = stack.password()
    again = stack.rotation()
    again.begin()
    assert stack.password() == fresh
    assert again.end()
    assert (stack.takes(old), stack.takes(fresh)) == (False, True)


def test_one_that_was_cut_before_redis_heard_of_it_goes_on(stack: Stack) -> None:
    (stack.folder / "redis-password.new").write_text("made by a run that was cut")
    rotation = stack.rotation()
    rotation.begin()
    assert rotation.end()
    assert stack.password() == "made by a run that was cut"
    assert stack.takes(stack.password())


def test_redis_may_restart_at_any_point(stack: Stack) -> None:
    old = stack.password()
    stack.rotation().begin()
    stack.stop()
    stack.start()
    assert (stack.takes(old), stack.takes(stack.password())) == (True, True)
    assert stack.rotation().end()
    stack.stop()
    stack.start()
    assert (stack.takes(old), stack.takes(stack.password())) == (False, True)


def test_a_deploy_leaves_the_acl_alone_in_the_middle_and_afterwards(stack: Stack) -> None:
    """Else Redis would be restarted for nothing, or the old password be gone too early."""
    acl = stack.folder / "redis-users.acl"
    written = acl.stat().st_mtime_ns
    rotation = stack.rotation()
    rotation.begin()
    assert stack.is_whole()
    assert rotation.end()
    assert stack.is_whole()
    assert acl.stat().st_mtime_ns == written
    (stack.folder / "redis-password").write_text("another")
    assert not stack.is_whole()


def test_one_that_waited_for_a_worker_is_ended_when_that_has_gone_over(stack: Stack) -> None:
    old = stack.password()
    stack.hold("knee-worker@0.service", old)
    stack.rotation().begin()
    assert list(finish_cut(stack.layout, "knee", lambda _: None)) == []
    stack.hold("knee-worker@0.service", stack.password())
    assert list(finish_cut(stack.layout, "knee", lambda _: None)) == ["redis-password"]
    assert not stack.takes(old)


def test_one_that_was_cut_at_its_beginning_is_not_taken_for_ended(stack: Stack) -> None:
    old = stack.password()
    (stack.folder / "redis-password.new").write_text("made by a run that was cut")
    assert list(finish_cut(stack.layout, "knee", lambda _: None)) == []
    assert stack.takes(old)


def test_only_the_stacks_own_units_count(stack: Stack) -> None:
    old = stack.password()
    for unit in ("knee-a-web.service", "other-web.service", "knee-web-next.service", "farrier-run-knee-web-1.service"):
        stack.hold(unit, old)
    stack.rotation().begin()
    assert stack.rotation().holders() == ["farrier-run-knee-web-1.service", "knee-web-next.service"]


def test_the_app_cannot_change_users(stack: Stack) -> None:
    with (
        redis.Redis(unix_socket_path=stack.socket, username="app", password=stack.password()) as client,
        pytest.raises(redis.ResponseError, match="no permissions"),
    ):
        client.execute_command("ACL", "SETUSER", "app", "nopass")


REFUSED: dict[str, str] = {
    "token": "comes from the vault",
    "redis-admin-password": "is in no process's hands",
    "nothing": "is no secret of it; what can be rotated: redis-password",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_rotated_is_refused_with_the_way_to_go(stack: Stack, name: str) -> None:
    with pytest.raises(Refused, match=REFUSED[name]):
        Rotation(stack.layout, "knee", name, lambda _: None)


def test_passwords_are_replaced_where_they_stand() -> None:
    one, two = ("#" + hashlib.sha256(word).hexdigest() for word in (b"one", b"two"))
    text = f"user default off ~* &* +@all\nuser app on {one} ~* +@all\nuser farrier on {one} -@all +acl\n"
    assert with_hashes(text, [one]) == text
    assert with_hashes(text, [one, two]).splitlines()[1] == f"user app on {one} {two} ~* +@all"
    assert with_hashes(text, [two]).splitlines()[2] == f"user farrier on {one} -@all +acl"
