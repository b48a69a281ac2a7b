"""The users of a stack's Redis, with a real one."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from ansible.module_utils.farrier_accounts import redis_acl


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """A Redis as a stack has it; killed at the end."""
    path = str(folder / "redis.sock")
    settings = ("--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "yes", "--appendfsync", "always")
    process = subprocess.Popen(["redis-server", *settings, "--aclfile", str(folder / "users.acl")], cwd=folder)
    try:
        deadline = time.monotonic() + 20
        while not Path(path).exists():
            assert time.monotonic() < deadline, "Redis does not come up"
            time.sleep(0.02)
        yield path
    finally:
        process.kill()
        process.wait()
        Path(path).unlink(missing_ok=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    app, admin = (hashlib.sha256(password).hexdigest() for password in (b"app", b"admin"))
    (tmp_path / "users.acl").write_text(redis_acl(app, admin))
    return tmp_path


def app(path: str) -> redis.Redis:
    return redis.Redis(unix_socket_path=path, username="app", password="app", decode_responses=True)


def test_transactions_are_there_after_a_restart(folder: Path) -> None:
    with running(folder) as path, app(path).pipeline(transaction=True) as both:
        both.hset("unacked", "tag", "job")
        both.zadd("unacked_index", {"tag": 1})
        both.execute()
    with running(folder) as path:
        assert app(path).hgetall("unacked") == {"tag": "job"}


def test_nobody_is_let_in_without_a_password(folder: Path) -> None:
    with running(folder) as path:
        for refused in (redis.Redis(unix_socket_path=path), redis.Redis(unix_socket_path=path, password="")):
            with pytest.raises(redis.AuthenticationError):
                refused.get("unacked")
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(unix_socket_path=path, username="default", password="guess").get("unacked")
