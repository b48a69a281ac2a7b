"""A new password in the place of an old one while everything serves.

The file `<name>.new` is there from the first step to the last, so that a rotation which was cut goes on when it is run
again. For as long as it is there, Redis takes both passwords, from its ACL file after a restart too.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from farrier_host.release import files, history, lock, state, systemd
from farrier_host.release.deploy import Deployer, Order, Outcome
from farrier_host.release.files import Refused
from farrier_host.release.history import Entry
from farrier_host.release.layout import Layout
from farrier_host.release.systemd import Failed

NEW = ".new"
ADMIN = "farrier"  # the user of a Redis who may change users, and nothing else
USER = "app"
_GIVEN = Path("/run/credentials")  # what systemd handed to each unit when that started
_HASH = re.compile(r"^#[0-9a-f]{64}$")
_BYTES = 32
_ROUNDS = 2  # a unit that was just starting when the file changed goes over in the second
_LIMIT = 10  # seconds for Redis

Say = Callable[[str], None]


class Rotation:
    """One password of a stack. Raises Refused where it is none that can be rotated here."""

    def __init__(self, layout: Layout, stack: str, name: str, say: Say) -> None:
        self.layout, self.stack, self.name, self.say = layout, stack, name, say
        release = state.load(layout, stack).active
        if release is None:
            raise Refused(f"{stack}: nothing is live")
        self.release = release
        self.plan = files.read_plan(layout, stack, release)
        self.file = layout.credential(stack, name)
        self.fresh = layout.credential(stack, name + NEW)
        self._check()
        readers = (each for each in self.plan["credentials"] if each["kind"] == "redis-acl" and each["of"] == name)
        self.acl: dict[str, str] | None = next(readers, None)

    def _check(self) -> None:
        named: dict[str, dict[str, str]] = {each["name"]: each for each in self.plan["credentials"]}
        mine = [name for name, each in named.items() if each["kind"] == "password"]
        held_back = {each.get("admin") for each in named.values()}
        if self.name not in mine or self.name in held_back:
            known = ", ".join(name for name in mine if name not in held_back)
            why = "comes from the vault: change it there and deploy" if self.name in named else "is no secret of it"
            why = "is in no process's hands: delete its file and deploy" if self.name in held_back else why
            raise Refused(f"{self.stack}: '{self.name}' {why}; what can be rotated: {known or 'nothing'}")
        if any(each["kind"] == "redis-acl" and "admin" not in each for each in named.values()):
            raise Refused(f"{self.stack}: its release is older than rotation; deploy once, then try again")

    def begin(self) -> None:
        """From here on both passwords are good, and whoever starts is given the new one."""
        if not self.fresh.exists():
            files.write_atomically(self.fresh, secrets.token_urlsafe(_BYTES), 0o600)
        else:
            self.say(f"a rotation of {self.name} that was cut goes on")
        if self.acl:
            self.say(f"let {self.acl['unit']} take both passwords")
            self._allow({*self._allowed(), _hash(self._new())})
        if self.file.read_text(encoding="utf-8") != self._new():
            self.say(f"write {self.file}")
            files.write_atomically(self.file, self._new(), 0o600)

    def go_over(self, order: Order) -> Outcome:
        """Let every service that holds the old password go over: by a bridge, or when its job ends."""
        outcome = Outcome(self.stack, self.release)
        for _ in range(_ROUNDS):
            if not self.holders():
                break
            self._touch()
            outcome = Deployer(self.layout, self.stack, order, self.say).deploy(self.release)
            if outcome.error:
                break
        return outcome

    def _touch(self) -> None:
        """Make the file younger than every process: systemd tells starts by the second."""
        second = int(time.time())
        while int(time.time()) == second:
            time.sleep(0.05)
        os.utime(self.file)

    def holders(self) -> list[str]:
        """The units that run with another password than the new one."""
        own = re.compile(rf"(farrier-run-)?{self.stack}-({'|'.join(map(re.escape, self._services()))})\b.*")
        found = _GIVEN.glob(f"*/{self.name}")
        return sorted(path.parent.name for path in found if own.fullmatch(path.parent.name) and self._is_old(path))

    def _services(self) -> Collection[str]:
        return {unit["service"] for unit in self.plan["units"]}

    def _is_old(self, path: Path) -> bool:
        try:
            return path.read_text(encoding="utf-8") != self._new()
        except FileNotFoundError:  # the unit has just ended
            return False

    def end(self) -> bool:
        """Let the old password go, once nobody holds it any more; False: somebody does."""
        if self.holders():
            return False
        if self.acl:
            self.say(f"let {self.acl['unit']} forget the old password")
            self._allow({_hash(self._new())})
        self.fresh.unlink()
        return True

    def _new(self) -> str:
        return self.fresh.read_text(encoding="utf-8")

    def _acl_file(self) -> Path:
        assert self.acl is not None
        return self.layout.credential(self.stack, self.acl["name"])

    def _allowed(self) -> list[str]:
        return [word for word in _rights(self._acl_file().read_text(encoding="utf-8")) if _HASH.match(word)]

    def _allow(self, hashes: Collection[str]) -> None:
        """Have Redis take these passwords, and no others: the running one, and by its file one that starts."""
        path = self._acl_file()
        text = path.read_text(encoding="utf-8")
        changed = with_hashes(text, sorted(hashes))
        if changed != text:
            # The running server is told besides, so the file is not younger than it in any way that matters.
            since = path.stat().st_mtime_ns
            files.write_atomically(path, changed, 0o600)
            os.utime(path, ns=(since, since))
        self._tell_server(["resetpass", *sorted(hashes)])

    def _tell_server(self, words: list[str]) -> None:
        assert self.acl is not None
        unit = self.acl["unit"]
        if systemd.look([unit])[unit].is_down:
            return  # it reads its file when it starts
        password = self.layout.credential(self.stack, self.acl["admin"]).read_text(encoding="utf-8")
        # By standard input: arguments and variables of a process can be seen.
        told = f"AUTH {ADMIN} {password}\nACL SETUSER {USER} {' '.join(words)}\n"
        command = ["redis-cli", "-s", self.acl["socket"]]
        try:
            done = subprocess.run(command, input=told, check=False, capture_output=True, text=True, timeout=_LIMIT)
        except subprocess.TimeoutExpired:
            raise Failed(unit, f"Redis gave no answer within {_LIMIT} s; run the rotation again") from None
        if done.stdout.split() != ["OK", "OK"]:
            said = (done.stdout + done.stderr).strip().replace("\n", "; ")
            raise Failed(unit, f"Redis did not take the password: {said}; run the rotation again")


def rotate(layout: Layout, stack: str, name: str, order: Order, say: Say) -> Outcome:
    """Rotate a password to its end, or as far as busy workers let it. Raises Refused, Failed."""
    started = time.monotonic()
    rotation = Rotation(layout, stack, name, say)
    with lock.hold(layout, stack, order.who, f"rotation of {name}"):
        if not state.load(layout, stack).is_settled:
            raise Refused(f"{stack}: a release is on trial; wait for its end and try again")
        rotation.begin()
    outcome = rotation.go_over(order)
    outcome.changed = True
    if not outcome.error:
        with lock.hold(layout, stack, order.who, f"rotation of {name}"):
            _finish(rotation, outcome)
    outcome.seconds = round(time.monotonic() - started, 1)
    entry = Entry("rotate", rotation.release, f"{name}: {outcome.result}", order.who, order.reason, outcome.seconds)
    history.note(layout, stack, entry)
    return outcome


def _finish(rotation: Rotation, outcome: Outcome) -> None:
    if rotation.end():
        outcome.result = "rotated"
        outcome.said.append(f"{rotation.stack}: {rotation.name} is rotated; nothing knows the old one any more")
        return
    held = ", ".join(rotation.holders())
    outcome.result = "follows" if outcome.followers else "not finished"
    told = f"{rotation.stack}: {held} still holds the old {rotation.name}, and both are good until it has ended"
    outcome.said.append(told)
    if not outcome.followers:
        outcome.error = f"{told}; end it and run the rotation again"


def finish_cut(layout: Layout, stack: str, say: Say) -> Iterator[str]:
    """End the rotations of a stack that only waited for its workers; the names of those that are at their end."""
    for path in sorted(layout.credential(stack, "").glob(f"*{NEW}")):
        rotation = Rotation(layout, stack, path.name.removesuffix(NEW), say)
        with lock.hold(layout, stack, "follow", f"end of the rotation of {rotation.name}"):
            is_replaced = path.exists() and rotation.file.read_bytes() == path.read_bytes()
            if is_replaced and rotation.end():
                yield rotation.name


def _rights(text: str) -> list[str]:
    """What an ACL file says of the user `app`, after its name."""
    return next(line.split()[2:] for line in text.splitlines() if line.startswith(f"user {USER} "))


def with_hashes(text: str, hashes: Sequence[str]) -> str:
    """An ACL file with these passwords of the user `app` where it has others."""
    words = _rights(text)
    at = next(index for index, word in enumerate(words) if _HASH.match(word))
    rest = [word for word in words if not _HASH.match(word)]
    line = " ".join(("user", USER, *rest[:at], *hashes, *rest[at:]))
    return "".join(f"{line if each.startswith(f'user {USER} ') else each}\n" for each in text.splitlines())


def _hash(password: str) -> str:
    return "#" + hashlib.sha256(password.encode()).hexdigest()
