"""A release of knee is cut in its middle: how to begin it, where to cut it, and what has to be true afterwards."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from testbed import network, ssh
from tests.e2e.site import Site, deploy

PLAYBOOK = str(Path(sys.executable).parent / "ansible-playbook")
CONFIRM_WITHIN = 20  # seconds here; 600 where nothing is said
_ACTIVATION = "farrier-activate-knee"
_PHASE = "sed -n 's/.*phase.: .\\([a-z]*\\).*/\\1/p' /opt/farrier/knee/state.json"
# What is not as it was before the release began, one line each; empty once the host has settled.
_UNSETTLED = f"""
{_PHASE} | grep -vx confirmed
farrier-release check knee >/tmp/check || cat /tmp/check
systemctl list-units --all --plain --no-legend \
  'farrier-activate-*' 'farrier-goback-*' 'farrier-settle@*' 'farrier-follow@*' 'knee-*-next*'
ls /run/systemd/system | grep -E '^(knee|hello)'
ls -d /run/farrier/knee/*next* /opt/farrier/*/releases/*.part 2>/dev/null
systemctl --failed --plain --no-legend
true
"""
# The code folders that processes of web and worker run, beside the one that the live release names.
_RUNS = """
for unit in knee-web.service knee-worker@0.service; do
  for pid in $(cat /sys/fs/cgroup$(systemctl show --property=ControlGroup --value $unit)/cgroup.procs); do
    readlink /proc/$pid/cwd
  done
done | grep ^/opt/farrier/knee/code/ | sort -u
"""
_WANTED = "grep -hPo '^WorkingDirectory=\\K.*' $(readlink -f /opt/farrier/knee/current)/units/* | sort -u"


class Poll:
    """Asks /health/ready ten times a second, from outside or, with the network cut, from the host's own namespace."""

    def __init__(self, site: Site, *, inside: bool) -> None:
        within = ["ip", "netns", "exec", network.namespace(site.host.name)] if inside else []
        command = [*within, sys.executable, "-m", "tests.e2e.cutting", site.url, str(site.ca)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        assert self._process.stdout.readline().strip() == "begun"

    def end(self) -> tuple[int, int, list[str]]:
        """How many requests were sent; how many said that only a worker was missing; how those ended that failed."""
        self._process.terminate()
        sent, idle, failed = json.loads(self._process.communicate()[0])
        return sent, idle, failed


@dataclass
class Release:
    """One release of `tree` on its way; `cut_at` is when it was cut."""

    site: Site
    tree: Path
    staged: str
    cut_at: float = 0.0
    cursor: str = ""
    stack: ExitStack = field(default_factory=ExitStack)

    def begin(self) -> None:
        """`farrier-release deploy` on the host, by hand."""
        self._mark()
        line = f"farrier-release deploy knee {self.staged} --who cut --confirm-within {CONFIRM_WITHIN}"
        self._spawn(ssh.argv(self.site.host.address, [line]))

    def play(self) -> subprocess.Popen[str]:
        """The main job."""
        self._mark()
        command = [PLAYBOOK, "-i", "inventory/demo", "site.yml", "-l", self.site.host.name]
        return self._spawn([*command, "-e", f"release_confirm_within={CONFIRM_WITHIN}"])

    def _spawn(self, command: list[str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command, cwd=self.tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self.stack.callback(_end, process)
        return process

    def _mark(self) -> None:
        self.cursor = self.site.run("journalctl -n 1 --show-cursor -o cat | sed -n 's/^-- cursor: //p'").strip()

    def await_step(self, line: str, after: float = 0) -> None:
        """Wait until the activation says that line, and so many seconds more."""
        seen = f"journalctl --after-cursor '{self.cursor}' -u {_ACTIVATION} -o cat | grep -qF '{line}'"
        self.site.run(f'timeout 90 sh -c "until {seen}; do sleep 0.02; done"; sleep {after}')

    def await_phase(self, phase: str) -> None:
        """Wait until the state says that phase."""
        self.site.run(f'timeout 90 sh -c "until {_PHASE} | grep -qx {phase}; do sleep 0.02; done"')

    def cut(self, command: str = "") -> None:
        """Now; with a command on the host, which may end the connection."""
        self.cut_at = time.monotonic()
        if command:
            self.site.host.run(command, timeout=30)

    def kill_activation(self) -> None:
        """kill -9 of all its processes but those that settle it afterwards."""
        self.cut(f"systemctl kill --kill-who=main --signal=KILL {_ACTIVATION}")

    def kill_waiting(self) -> None:
        """kill -9 of the `farrier-release deploy` that waits for the activation."""
        self.cut("pkill -KILL -f '^/usr/bin/python3 -IB /usr/local/sbin/farrier-release deploy knee'")

    def kill_play(self, play: subprocess.Popen[str], how: int = signal.SIGKILL) -> None:
        """Ansible with all its processes on the controller."""
        os.killpg(play.pid, how)
        play.wait()
        self.cut()


@dataclass(frozen=True)
class Aftermath:
    """What was seen after a cut."""

    live: str  # the old release, or the new one
    seconds: float  # from the cut until everything was well without a hand
    sent: int
    idle: int  # of those sent, how many found web and ledger well and a worker just going over
    failed: list[str]

    def __str__(self) -> str:
        reasons = f" ({', '.join(sorted(set(self.failed)))})" if self.failed else ""
        return (
            f"{self.live} release whole and settled {self.seconds:.0f} s after the cut; "
            f"{len(self.failed)} of {self.sent} requests failed{reasons}"
            + (f", {self.idle} said that the worker was just going over" if self.idle else "")
        )


def cut_and_look(
    site: Site, tree: Path, cause: Callable[[Release], None], *, reboots: bool = False, inside: bool = False
) -> Aftermath:
    """Begin to release `tree`, cut it by `cause`, and wait until the host is well by itself.

    Raises AssertionError when it is not, when it serves a mixture, or when `hello` was touched.
    """
    await_settled(site, time.monotonic())
    release = Release(site, tree, stage(site, tree))
    before, hello = active(site), hello_process(site)
    poll = Poll(site, inside=inside)
    try:
        with release.stack:
            cause(release)
        await_settled(site, release.cut_at)
        seconds = time.monotonic() - release.cut_at
    finally:
        sent, idle, failed = poll.end()
    now = active(site)
    assert now in (before, release.staged), f"{now} is live"
    assert runs(site) == wanted(site), f"a mixture runs: {runs(site)}, of {wanted(site)}"
    assert reboots or hello_process(site) == hello, "hello was touched"
    assert reboots or not failed, f"{len(failed)} of {sent} requests failed: {sorted(set(failed))}"
    return Aftermath("the old" if now == before else "the new", seconds, sent, idle, failed)


def finish(site: Site, tree: Path) -> None:
    """The next run makes the release live, and leaves nothing behind."""
    done = deploy(site.host, tree=tree)
    assert done.code == 0, f"the next run failed: {done.output[-2000:]}"
    assert unsettled(site) == "", unsettled(site)
    assert runs(site) == wanted(site)


def stage(site: Site, tree: Path) -> str:
    """Bring the release's files, and change nothing else; its id."""
    done = deploy(site.host, "-t", "files", tree=tree)
    assert done.code == 0, done.output[-2000:]
    return site.run("ls /opt/farrier/knee/releases | grep -v part | tail -1").strip()


def active(site: Site) -> str:
    """The release that is live."""
    return site.run('sed -n \'s/.*"active": "\\(.*\\)".*/\\1/p\' /opt/farrier/knee/state.json').strip()


def hello_process(site: Site) -> str:
    """The other stack's main process."""
    return site.run("systemctl show --property=MainPID,InvocationID hello-web.service")


def runs(site: Site) -> str:
    """The code folders that knee's processes have."""
    return site.run(_RUNS)


def wanted(site: Site) -> str:
    """The code folder that the live release names."""
    return site.run(_WANTED)


def unsettled(site: Site) -> str:
    """What is not well yet; empty when all is."""
    done = site.host.run(_UNSETTLED)
    return done.stdout if done.returncode == 0 else "the host does not answer"


def await_settled(site: Site, since: float, within: float = 120) -> None:
    """Wait until all is well without a hand."""
    while (left := unsettled(site)) or site.status_code("/health/ready") != 200:
        assert time.monotonic() - since < within, f"not settled within {within:g} s: {left}"
        time.sleep(0.2)


@contextmanager
def link_down(site: Site) -> Iterator[None]:
    """The host's network cable is out."""
    network.plug(site.host.address, is_in=False)
    try:
        yield
    finally:
        network.plug(site.host.address, is_in=True)


@contextmanager
def small_disk(site: Site, folder: str) -> Iterator[None]:
    """The folder lies on a disk of its own; what was written comes back when that is gone."""
    copy = f"rm -rf /run/kept && cp -a {folder} /run/kept"
    size = f"$(du -sk {folder} | awk '{{print $1 + 2000}}')k"
    site.run(f"{copy} && mount -t tmpfs -o size={size},mode=755 small {folder} && cp -a /run/kept/. {folder}/")
    try:
        yield
    finally:
        empty(site, folder)
        site.run(f"{copy} && umount -l {folder} && cp -a /run/kept/. {folder}/ && rm -r /run/kept")


def fill(site: Site, folder: str) -> None:
    """No byte more fits."""
    site.host.run(f"dd if=/dev/zero of={folder}/.fill bs=4k 2>/dev/null")


def empty(site: Site, folder: str) -> None:
    """There is room again."""
    site.run(f"rm -f {folder}/.fill")


def _end(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _lacks_worker(answer: httpx.Response) -> bool:
    """Whether all that is missing is a worker of a queue: jobs wait, and nothing else does."""
    missing = answer.json().get("missing", []) if "json" in answer.headers.get("content-type", "") else []
    return bool(missing) and all(name.startswith("worker:") for name in missing)


def _poll(url: str, ca: Path) -> None:
    """The program of Poll."""
    ends: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ends.append(number))
    context = ssl.create_default_context(cafile=str(ca))
    failed: list[str] = []
    sent = idle = 0
    print("begun", flush=True)
    while not ends:
        begun, sent = time.monotonic(), sent + 1
        try:
            answer = httpx.get(f"{url}/health/ready", verify=context, timeout=15)
            if answer.status_code == 503 and _lacks_worker(answer):
                idle += 1
            elif answer.status_code != 200:
                failed.append(str(answer.status_code))
        except httpx.HTTPError as error:
            failed.append(type(error).__name__)
        time.sleep(max(0.0, begun + 0.1 - time.monotonic()))
    print(json.dumps([sent, idle, failed]), flush=True)


if __name__ == "__main__":
    _poll(sys.argv[1], Path(sys.argv[2]))
