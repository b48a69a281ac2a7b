"""A stack's user, data folders and credentials: what of them is missing or wrong, and making it right."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import secrets
import stat
from collections.abc import Callable
from functools import partial
from typing import Any

from ansible.module_utils.farrier_files import read, write

_STATE_MODE = 0o2750  # set-group-ID: what any process of the stack writes belongs to its group
_SECRET_BYTES = 32


class Maker:
    """Makes what is missing, or (`only_look`) just says so in `made`. `run` runs a command that must succeed."""

    def __init__(self, run: Callable[[list[str]], object], *, only_look: bool) -> None:
        self.run, self.only_look = run, only_look
        self.made: list[str] = []

    def stack(self, stack: dict[str, Any]) -> None:
        """Everything of one stack, as the plan has it."""
        self.account(stack["name"], stack["state"])
        self.state(stack)
        self.credentials(stack)

    def account(self, name: str, home: str) -> None:
        """A system user and group that nobody can log in as."""
        if not exists(name):
            command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", home]
            command += ["--shell", "/usr/sbin/nologin", "--comment", f"Farrier stack {name}", name]
            self.do(f"user and group {name}", lambda: self.run(command))

    def state(self, stack: dict[str, Any]) -> None:
        """The data folder and the folders in it."""
        name, top = stack["name"], stack["state"]
        self.folder(os.path.dirname(top), "root", 0o755)
        for folder in (top, *(os.path.join(top, inner) for inner in stack["state_folders"])):
            self.folder(folder, name, _STATE_MODE)

    def credentials(self, stack: dict[str, Any]) -> None:
        """The secret files that are missing; only root reads them, and hands them over by LoadCredential."""
        folder = stack["credentials_folder"]
        self.folder(os.path.dirname(os.path.dirname(folder)), "root", 0o755)
        self.folder(os.path.dirname(folder), "root", 0o755)
        self.folder(folder, "root", 0o700)
        wanted: list[dict[str, str]] = stack["credentials"]
        for credential in sorted(wanted, key=lambda each: each["kind"] != "password"):
            if not is_whole(folder, credential):
                path = os.path.join(folder, credential["name"])
                self.do(f"secret {path}", partial(make_secret, folder, credential))

    def folder(self, path: str, owner: str, mode: int) -> None:
        """A folder with this owner, group of the same name, and mode."""
        if self.is_right(path, owner, mode):
            return
        self.do(f"folder {path} ({owner}, {mode:o})", lambda: make_folder(path, owner, mode))

    def is_right(self, path: str, owner: str, mode: int) -> bool:
        """Whether the folder is there as it should be."""
        if not os.path.isdir(path) or not exists(owner):
            return False
        now = os.stat(path)
        same_owner = (now.st_uid, now.st_gid) == (pwd.getpwnam(owner).pw_uid, grp.getgrnam(owner).gr_gid)
        return same_owner and stat.S_IMODE(now.st_mode) == mode

    def do(self, what: str, action: Callable[[], object]) -> None:
        """Note what is made, and make it unless this is only a look."""
        self.made.append(what)
        if not self.only_look:
            action()


def exists(name: str) -> bool:
    """Whether there is such a user."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def make_folder(path: str, owner: str, mode: int) -> None:
    """Make the folder, or mend its owner and mode."""
    os.makedirs(path, exist_ok=True)
    os.chown(path, pwd.getpwnam(owner).pw_uid, grp.getgrnam(owner).gr_gid)
    os.chmod(path, mode)  # after chown, which takes the set-group-ID bit away


def is_whole(folder: str, credential: dict[str, str]) -> bool:
    """Whether the secret is there; an ACL only when it fits its passwords, or nobody could log in."""
    found = read(os.path.join(folder, credential["name"]))
    if found is None or credential["kind"] == "password":
        return found is not None
    if credential["kind"] == "given":
        return hashlib.sha256(found).hexdigest() == credential["sha256"]
    if any(read(os.path.join(folder, credential[user])) is None for user in ("of", "admin")):
        return False
    wanted = secret(folder, credential)
    # While a password is rotated there are two of it, which is farrier-release's work.
    is_rotated = os.path.exists(os.path.join(folder, credential["of"] + ".new"))
    return found == wanted or (is_rotated and without_hashes(found) == without_hashes(wanted))


def make_secret(folder: str, credential: dict[str, str]) -> None:
    """Write a new credential file that root alone reads."""
    write(os.path.join(folder, credential["name"]), secret(folder, credential), 0o600)


def secret(folder: str, credential: dict[str, str]) -> bytes:
    """The content of a new credential file."""
    if credential["kind"] == "password":
        return secrets.token_urlsafe(_SECRET_BYTES).encode()
    if credential["kind"] == "given":
        return credential["value"].encode()
    passwords = [read(os.path.join(folder, credential[user])) or b"" for user in ("of", "admin")]
    return redis_acl(*(hashlib.sha256(password).hexdigest() for password in passwords)).encode()


def redis_acl(app: str, admin: str) -> str:
    """Redis users: nobody without a password, `app` without the commands that administer the server, and `farrier`.

    That one changes passwords while they are rotated (farrier_host/release/rotate.py), and can do nothing else.
    """
    # Nobody can be `default`, which is off. Redis loads its append-only file as that user, and without these rights it
    # would leave out every transaction, e.g. the jobs that a Celery worker holds.
    users = "user default off ~* &* +@all\n"
    users += f"user app on #{app} ~* &* +@all -@admin -@dangerous +info +keys\n"
    return f"{users}user farrier on #{admin} -@all +acl\n"


def without_hashes(acl: bytes) -> list[bytes]:
    """The words of an ACL file but for its passwords."""
    return [word for word in acl.split() if not word.startswith(b"#")]


def with_values(stacks: list[dict[str, Any]], values: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
    """The stacks, with the value of each given secret beside its name. Raises ValueError for one without a value."""
    return [
        {**stack, "credentials": [_with_value(stack["name"], each, values) for each in stack["credentials"]]}
        for stack in stacks
    ]


def _with_value(stack: str, credential: dict[str, str], values: dict[str, dict[str, str]]) -> dict[str, str]:
    if credential["kind"] != "given":
        return credential
    value = values.get(stack, {}).get(credential["name"])
    if value is None:
        raise ValueError(f"farrier_secrets has no value for {stack}/{credential['name']}")
    return {**credential, "value": value, "sha256": hashlib.sha256(value.encode()).hexdigest()}
