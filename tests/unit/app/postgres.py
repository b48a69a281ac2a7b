"""A real PostgreSQL server for tests: on a unix socket, in a temporary folder, as a user without rights."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from sqlalchemy import URL

from app.core.ledger.postgres import server_url

USER = "farrier"
PASSWORD = "p@ss/word:%\\x"  # must survive an address and a password file
SETTINGS = {"listen_addresses": "", "fsync": "off", "max_connections": "40", "shared_buffers": "16MB"}


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.fail("PostgreSQL is not installed: apt-get install postgresql")
    return found[-1].parent


@dataclass
class Server:
    """A server whose data lie in `folder`; `restart` and `kill` are what may happen to it."""

    folder: Path
    made: int = 0
    programs: Path = field(default_factory=_programs)

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        # PostgreSQL refuses to run as root.
        user = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []
        command = [*user, str(self.programs / program), *arguments]
        subprocess.run(command, check=check, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def create(self) -> None:
        """Lay out the data folder, which has one superuser with a password."""
        if os.geteuid() == 0:
            shutil.chown(self.folder, "nobody")
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        login = ["-U", USER, "--auth=scram-sha-256", f"--pwfile={password}"]
        self._run("initdb", "-D", self._data, "--no-sync", "--locale=C", "--encoding=UTF8", *login)

    def start(self) -> None:
        """Start, and wait until it answers."""
        settings = SETTINGS | {"unix_socket_directories": str(self.folder)}
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        self._run("pg_ctl", "-D", self._data, "-l", f"{self._data}.log", "-o", options, "-w", "start")

    def stop(self) -> None:
        """End it and every connection."""
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop", check=False)

    def signal(self, number: signal.Signals) -> None:
        """Send the main process a signal."""
        os.kill(int((self.folder / "data/postmaster.pid").read_text().split()[0]), number)

    def address(self, database: str) -> str:
        """The address of a database, as the setting has it."""
        return f"postgresql://{USER}@/{database}?host={self.folder}"

    def url(self, database: str) -> URL:
        """The same with the password."""
        return server_url(self.address(database), PASSWORD)

    def new_schema(self) -> URL:
        """A place for a ledger within a database that tests share: making a database takes longer than most tests."""
        self.made += 1
        name = f"ledger{self.made}"
        self.execute(f"CREATE SCHEMA {name}")
        return server_url(f"{self.address('postgres')}&options=-csearch_path%3D{name}", PASSWORD)

    def login(self, database: str) -> str:
        """What libpq needs to be let in."""
        return make_conninfo(host=str(self.folder), user=USER, password=PASSWORD, dbname=database)

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Do one statement as the superuser."""
        with psycopg.connect(self.login(database), autocommit=True) as connection:
            connection.execute(statement.encode())

    def new_database(self) -> URL:
        """An empty database of its own for a test."""
        self.made += 1
        name = f"ledger{self.made}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.url(name)


@contextmanager
def running_server() -> Iterator[Server]:
    """A server that is gone afterwards. Its folder's name is short: a socket's path may have 107 characters."""
    with tempfile.TemporaryDirectory(prefix="farrier-pg-", dir="/tmp") as folder:
        server = Server(Path(folder))
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()
