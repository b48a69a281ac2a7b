"""A test host: its record, what is prepared in its file system, and how it is booted and removed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from pathlib import Path

from testbed import cgroup, images, network, ssh
from testbed.settings import BOOT_SECONDS, HOSTS, KEY
from testbed.shell import DriverError, lock, lock_if_free, say

_LAUNCHER = Path(__file__).with_name("launch.sh")
_CGROUP_PREFIX = "host-"
_NETWORK_LOCK = "network"


@dataclass(frozen=True)
class Host:
    """A host as its record says; `address` is what Ansible and the tests need, with root and `identity_file`."""

    name: str
    address: str
    suite: str
    warm: bool
    image: str

    @property
    def folder(self) -> Path:
        """Where its overlay, record and log lie."""
        return HOSTS / self.name

    @property
    def log(self) -> Path:
        """Console output of the host."""
        return self.folder / "log"

    @property
    def cgroup(self) -> str:
        """Name of its cgroup."""
        return _CGROUP_PREFIX + self.name

    def is_alive(self) -> bool:
        """Whether any process of it runs."""
        return cgroup.is_alive(self.cgroup)

    def run(self, command: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
        """Run a shell command line on it as root; exit code 255 means that SSH did not reach it."""
        return ssh.execute(self.address, command, timeout=timeout)

    def describe(self) -> dict[str, str | bool]:
        """What `testbed list --json` prints of it."""
        return asdict(self) | {"identity_file": str(KEY), "user": "root", "alive": self.is_alive()}


def records() -> list[Host]:
    """All hosts that have a record, alive or not."""
    return [host for host in (find(path.name) for path in sorted(HOSTS.glob("*"))) if host]


def find(name: str) -> Host | None:
    """The record of a host."""
    try:
        return Host(**json.loads((HOSTS / name / "host.json").read_text()))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def up(name: str, suite: str, *, warm: bool = False, reuse: bool = False) -> Host:
    """Boot a host of that name anew (with `reuse`: keep one that runs) and wait until systemd says `running`."""
    _check_name(name)
    with lock(f"host-{name}", waiting=f"{name}: another process works on this host, waiting"):
        present = find(name)
        if reuse and present and present.is_alive():
            _await(present, time.monotonic() + BOOT_SECONDS)
            say(f"{name}: already up at {present.address} ({present.image})")
            return present
        image = images.ensure(suite, warm=warm)
        _remove(name)
        return _boot(_register(name, suite, warm=warm, image=image), image)


def down(name: str) -> None:
    """Remove a host for certain: processes, cgroup, network namespace, interface, files. No error when it is gone."""
    _check_name(name)
    with lock(f"host-{name}"):
        _remove(name)


def collect() -> list[str]:
    """Remove whatever is left of hosts without a living process; returns their names. Hosts being booted are spared."""
    removed = []
    for name in _known():
        with lock_if_free(f"host-{name}") as taken:
            if taken and not cgroup.is_alive(_CGROUP_PREFIX + name):
                _remove(name)
                removed.append(name)
    images.prune({host.image for host in records()})
    return removed


def down_all() -> list[str]:
    """Remove every host; returns their names."""
    names = _known()
    for name in names:
        down(name)
    return names


def await_running(host: Host, seconds: float = BOOT_SECONDS) -> None:
    """Wait until SSH answers and systemd says `running`; DriverError with the reason after that many seconds."""
    _await(host, time.monotonic() + seconds)


def _known() -> list[str]:
    folders = [path.name for path in HOSTS.glob("*")]
    cgroups = [name.removeprefix(_CGROUP_PREFIX) for name in cgroup.names() if name.startswith(_CGROUP_PREFIX)]
    return sorted({*folders, *cgroups, *network.namespaces()})


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?", name):
        raise DriverError(f"{name!r} is no host name: use lower-case letters, digits and inner hyphens")


def _register(name: str, suite: str, *, warm: bool, image: Path) -> Host:
    """Give the host an address that no other one has, its place in the network, and its record."""
    with lock(_NETWORK_LOCK):
        network.ensure_bridge()
        taken = {IPv4Address(host.address) for host in records()}
        address = network.allocate(taken)
        network.detach(name, address)
        network.attach(name, address)
        host = Host(name, str(address), suite, warm, image.name)
        host.folder.mkdir(parents=True)
        (host.folder / "host.json").write_text(json.dumps(asdict(host)))
        prepare(host.folder / "upper", name, ssh.ensure_key())
    return host


def prepare(upper: Path, name: str, public_key: str) -> None:
    """Write what is the host's own into the layer above its image: name, resolver, authorized key."""
    for folder, mode in (("", 0o755), ("etc", 0o755), ("root", 0o700), ("root/.ssh", 0o700)):
        (upper / folder).mkdir()
        (upper / folder).chmod(mode)  # mkdir's own mode would be cut by the umask
    files = {
        "etc/hostname": f"{name}\n",
        "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost\n",
        "etc/resolv.conf": Path("/etc/resolv.conf").read_text(),
        "root/.ssh/authorized_keys": public_key,
    }
    for path, text in files.items():
        (upper / path).write_text(text)
        (upper / path).chmod(0o644)


def _boot(host: Host, image: Path) -> Host:
    started = time.monotonic()
    say(f"{host.name}: booting {image.name} at {host.address}")
    try:
        _launch(host, image)
        await_running(host)
    except BaseException as error:
        kept = _keep_log(host)
        _remove(host.name)
        if isinstance(error, DriverError):
            raise DriverError(f"{error}\nIts console: {kept}") from error
        raise
    say(f"{host.name}: up at {host.address} after {time.monotonic() - started:.1f} s")
    return host


def _launch(host: Host, image: Path) -> None:
    for name in ("work", "root"):
        (host.folder / name).mkdir()
    own = cgroup.create(host.cgroup)
    with host.log.open("w") as log:
        launcher = subprocess.Popen(
            [_LAUNCHER, "enter", host.name, host.folder, image, own, network.namespace(host.name)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd="/",
        )  # fmt: skip
    while not host.is_alive() and launcher.poll() is None:
        time.sleep(0.01)


def _await(host: Host, deadline: float) -> None:
    reason = "SSH does not answer"
    while time.monotonic() < deadline:
        if ssh.answers(IPv4Address(host.address)):
            done = ssh.execute(host.address, "systemctl is-system-running --wait")
            reason = f"systemd says {done.stdout.strip() or done.stderr.strip()!r}"
            if done.stdout.strip() == "running":
                return
            if done.stdout.strip() == "degraded":
                failed = ssh.execute(host.address, "systemctl --failed --plain --no-legend").stdout.strip()
                raise DriverError(f"{host.name} came up with failed units:\n{failed}")
        elif not host.is_alive():
            raise DriverError(f"{host.name}: its launcher ended during the boot")
        time.sleep(0.05)
    raise DriverError(f"{host.name} did not come up in time: {reason}")


def _keep_log(host: Host) -> Path:
    kept = HOSTS.parent / f"{host.name}.failed.log"
    if host.log.is_file():
        shutil.copy(host.log, kept)
    return kept


def _remove(name: str) -> None:
    """Take everything of a host away, in the order in which the parts hold each other."""
    host = find(name)
    cgroup.remove(_CGROUP_PREFIX + name)
    network.detach(name, IPv4Address(host.address) if host else None)
    shutil.rmtree(HOSTS / name, ignore_errors=True)
