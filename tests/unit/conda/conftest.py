"""A real channel, real http servers and a real installer; only the packages of the failure tests are made up."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from farrier.conda.lock import lock_environment
from testbed.channel import pack
from testbed.channel.build import build

ROOT = Path(__file__).parents[3]
CHANNEL = "https://channel.test/local"
HELLO = ROOT / "stacks" / "hello" / "envs"

Json = dict[str, Any]


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        del format, args


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder over http, at the URL that is yielded."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="session")
def channel() -> Path:
    """The channel of Debian's Python, as demo and host tests use it."""
    build(ROOT / "build" / "channel", print)
    return ROOT / "build" / "channel" / "channel"


@pytest.fixture(scope="session")
def mirror(channel: Path) -> Iterator[str]:
    with served(channel) as url:
        yield url


@pytest.fixture(scope="session")
def python_lock(mirror: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The conda lock of hello's env."""
    out = tmp_path_factory.mktemp("locks") / "web.lock"
    lock_environment(HELLO / "web.yml", out, channel=CHANNEL, mirrors={CHANNEL: mirror})
    return out.read_text()


@dataclass
class SmallChannel:
    """A channel of made-up packages of one file each."""

    folder: Path
    entries: Json = field(default_factory=dict)

    def add(self, name: str, content: str = "hello\n", depends: list[str] | None = None, version: str = "1.0") -> Path:
        """Add a package; returns its .conda file."""
        files = self.folder.parent / f"files-{name}-{version}"
        (files / "share").mkdir(parents=True)
        (files / "share" / name).write_text(content)
        package = pack.Package(name=name, version=version, build="h0_0", depends=depends or [])
        self.entries |= pack.write_package(self.folder, files, package)
        pack.write_repodata(self.folder, self.entries)
        return self.folder / pack.SUBDIR / f"{package.stem}.conda"

    def lock(self, *names: str, local: bool = False, cuda: str | None = None, glibc: str = "2.36") -> str:
        """The lock of an env with these packages; the channel is called CHANNEL, or by its folder when `local`."""
        spec, out = self.folder.parent / "env.yml", self.folder.parent / "env.lock"
        spec.write_text(f"channels: [{CHANNEL}]\ndependencies: [{', '.join(names)}]\n")
        with served(self.folder) as url:
            channel = self.folder.as_uri() if local else CHANNEL
            lock_environment(spec, out, channel=channel, mirrors={CHANNEL: url}, cuda=cuda, glibc=glibc)
        return out.read_text()


@pytest.fixture
def small(tmp_path: Path) -> SmallChannel:
    return SmallChannel(tmp_path / "small" / "channel")


@dataclass(frozen=True)
class Host:
    """A folder that stands for a host's disk."""

    root: Path

    @property
    def envs(self) -> Path:
        return self.root / "envs"

    def env(self, identity: str, lock: str, pip: str | None = None, disk: int = 0) -> Json:
        name = identity.partition("-")[0]
        prefix = str(self.envs / identity)
        return {"name": name, "id": identity, "prefix": prefix, "lock": lock, "pip": pip, "disk": disk}

    def start(self, env: Json, mirror: str | None = None, **request: str) -> subprocess.Popen[str]:
        """Start the installer as the module does."""
        mirrors = {CHANNEL: mirror} if mirror else {}
        text = json.dumps({"envs": [env], "cache": str(self.root / "cache"), "mirrors": mirrors, **request})
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", "farrier_env"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(text)
        process.stdin.close()
        process.stdin = None
        return process

    def install(self, env: Json, mirror: str | None = None, **request: str) -> Json:
        """The installer's answer."""
        out, err = self.start(env, mirror, **request).communicate()
        assert out, err
        answer: Json = json.loads(out)
        return answer

    def state(self, env: Json, mirror: str | None = None, **request: str) -> str:
        """What became of the env. It must not fail."""
        answer = self.install(env, mirror, **request)
        assert "error" not in answer, answer["error"]
        return str(answer["envs"][0]["state"])

    def error(self, env: Json, mirror: str | None = None) -> str:
        """The message of an installation that must fail."""
        return str(self.install(env, mirror)["error"])


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB; mounting it needs root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)
