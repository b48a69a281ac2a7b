"""A release is cut at every sort of point: afterwards one release serves, whole, and nothing needs a hand."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.e2e.cutting import (
    CONFIRM_WITHIN,
    Release,
    cut_and_look,
    fill,
    finish,
    link_down,
    small_disk,
)
from tests.e2e.site import Site, copy_of_the_tree, deployed
from tests.harness import Observation

_HOME = "/opt/farrier/knee"
_CACHE = "/opt/farrier/cache"
_BUILDING = "ls -d /opt/farrier/envs/*/ | while read env; do [ -e $env/.ready ] || echo $env; done"
_PROMISE = "one release serves, whole, without a hand; the next run ends well, and nothing is left"
_HARD_REBOOT = "systemctl reboot --force --force"


@dataclass(frozen=True)
class Cut:
    """`cause` begins a release and cuts it. `reboots`: all that runs ends; `inside`: the poll needs no network."""

    name: str
    cause: Callable[[Release], None]
    reboots: bool = False
    inside: bool = False
    new_env: bool = False


def cuts() -> Iterator[Observation]:
    """Each cut on the same host, of a release of its own."""
    with deployed("fault-cuts") as site, tempfile.TemporaryDirectory() as folder:
        tree = copy_of_the_tree(Path(folder))
        for number, cut in enumerate(CUTS):
            yield observe(site, tree, cut, number)


def observe(site: Site, tree: Path, cut: Cut, number: int) -> Observation:
    """One row."""
    (tree / "app" / "__init__.py").write_text(f'"""Changed for cut {number}."""\n')
    if cut.new_env:
        with (tree / "stacks/hello/envs/web.txt").open("a") as file:
            file.write(f"# for cut {number}\n")
    try:
        after = cut_and_look(site, tree, cut.cause, reboots=cut.reboots, inside=cut.inside)
        finish(site, tree)
    except AssertionError as error:
        return Observation(cut.name, _PROMISE, str(error)[:1000], ok=False)
    return Observation(cut.name, _PROMISE, str(after), ok=True)


def activation(release: Release, line: str, after: float = 0) -> None:
    """kill -9 of the activation at that step."""
    release.begin()
    release.await_step(line, after)
    release.kill_activation()


def activation_and_waiting(release: Release, line: str) -> None:
    """kill -9 of the activation, and of what waits for it."""
    release.begin()
    release.await_step(line)
    release.kill_waiting()
    release.kill_activation()


def activation_and_way_back(release: Release) -> None:
    """kill -9 of the activation, and again of what takes it back."""
    release.begin()
    release.await_step("restart knee-web.service")
    release.kill_activation()
    release.site.run(
        f"timeout 90 sh -c \"until journalctl --after-cursor '{release.cursor}' "
        "-u farrier-activate-knee -u farrier-settle@knee -o cat | grep -qF 'going back to'; do sleep 0.02; done\""
    )
    release.cut("systemctl kill --signal=KILL farrier-activate-knee farrier-settle@knee")


def waiting(release: Release) -> None:
    """kill -9 of `farrier-release deploy` alone: nobody confirms what its activation brings."""
    release.begin()
    release.await_step("restart knee-web.service")
    release.kill_waiting()


def proving(release: Release) -> None:
    """kill -9 of `farrier-release deploy` while it verifies."""
    release.begin()
    release.await_phase("unconfirmed")
    release.kill_waiting()


def play_at_step(release: Release, line: str, how: int = signal.SIGKILL) -> None:
    """Ansible ends in mid-activation."""
    play = release.play()
    release.await_step(line)
    release.kill_play(play, how)


def play_proving(release: Release) -> None:
    """Ansible ends before anybody has confirmed."""
    play = release.play()
    release.await_phase("unconfirmed")
    release.kill_play(play)


def play_at_task(release: Release, task: str) -> None:
    """Ansible ends as a task begins."""
    play = release.play()
    assert play.stdout
    assert any(task in line for line in play.stdout), f"no task {task}"
    release.kill_play(play)


def play_building(release: Release) -> None:
    """Ansible ends while an env is built."""
    play = release.play()
    release.site.run(f'timeout 90 sh -c "until {_BUILDING} | grep -q .; do sleep 0.05; done"'.replace("$env", "\\$env"))
    release.kill_play(play)


def cable(release: Release, line: str | None) -> None:
    """The network is gone for ten seconds at that step, or before the confirmation; ansible's end is not waited for."""
    play = release.play()
    if line:
        release.await_step(line)
    else:
        release.await_phase("unconfirmed")
    with link_down(release.site):
        release.cut()
        with suppress(subprocess.TimeoutExpired):
            play.wait(10)
    release.kill_play(play)


def reboot(release: Release, line: str | None) -> None:
    """The host's power is gone at that step, or before the confirmation."""
    release.begin()
    if line:
        release.await_step(line)
    else:
        release.await_phase("unconfirmed")
    release.cut(_HARD_REBOOT)


def reboot_in_order(release: Release) -> None:
    """An administrator's `systemctl reboot` in mid-bridge."""
    release.begin()
    release.await_step("restart knee-web.service")
    release.cut("systemctl reboot")


def full_while_staging(release: Release) -> None:
    """No room for code and release."""
    again = release.tree / "app" / "__init__.py"  # staged already: it is another one now
    again.write_text(again.read_text() + "# another\n")
    with small_disk(release.site, _HOME):
        fill(release.site, _HOME)
        play = release.play()
        said = play.communicate()[0]
        release.cut()
        assert play.returncode != 0
        assert "could not be staged, nothing was activated" in said, said[-1500:]


def full_while_building(release: Release) -> None:
    """No room for an env's packages."""
    with small_disk(release.site, _CACHE):
        release.site.run(f"rm -rf {_CACHE}/uv {_CACHE}/conda")
        fill(release.site, _CACHE)
        play = release.play()
        said = play.communicate()[0]
        release.cut()
        assert play.returncode != 0, said[-1500:]


def full_journal(release: Release) -> None:
    """No room for state.json, in mid-bridge."""
    with small_disk(release.site, _HOME):
        release.begin()
        release.await_step("start knee-web-next.service")
        fill(release.site, _HOME)
        release.cut()
        release.site.run("timeout 60 sh -c 'while systemctl is-active farrier-activate-knee; do sleep 0.1; done'")


_AT = "kill -9 of the activation at `{}`"
_STEPS = (
    ("replace unit files", 0.0),
    ("start knee-web-next.service", 0.0),
    ("start knee-web-next.service", 1.5),
    ("lead requests to knee-web-next.service", 0.0),
    ("restart knee-web.service", 0.0),
    ("restart knee-web.service", 2.0),
    ("lead requests to knee-web.service", 0.0),
    ("end knee-web-next.service", 0.0),
    ("let knee-worker@0.service go over", 0.0),
    ("let knee-worker@0.service go over", 1.5),
)
_WEB = "restart knee-web.service"
_TRIAL = f"(here after {CONFIRM_WITHIN} s, else 600 s)"
CUTS: tuple[Cut, ...] = (
    *(
        Cut(_AT.format(line) + (f" + {after} s" if after else ""), partial(activation, line=line, after=after))
        for line, after in _STEPS
    ),
    Cut(f"kill -9 of activation and deploy at `{_WEB}`", partial(activation_and_waiting, line=_WEB)),
    Cut("kill -9 of activation and way back (looked after every 60 s)", activation_and_way_back),
    Cut(f"kill -9 of deploy alone at `{_WEB}` {_TRIAL}", waiting),
    Cut(f"kill -9 of deploy while it verifies {_TRIAL}", proving),
    Cut("kill -9 of ansible while an env is built", play_building, new_env=True),
    Cut("kill -9 of ansible while staging", partial(play_at_task, task="TASK [stack : Stage the releases]")),
    Cut(f"kill -9 of ansible at `{_WEB}`", partial(play_at_step, line=_WEB)),
    Cut("kill -9 of ansible before the confirmation", play_proving),
    Cut(f"Ctrl-C of ansible at `{_WEB}`", partial(play_at_step, line=_WEB, how=signal.SIGINT)),
    Cut(f"network cut at `{_WEB}`", partial(cable, line=_WEB), inside=True),
    Cut("network cut before the confirmation", partial(cable, line=None), inside=True),
    Cut(
        "power cut at `start knee-web-next.service`", partial(reboot, line="start knee-web-next.service"), reboots=True
    ),
    Cut(f"power cut at `{_WEB}`", partial(reboot, line=_WEB), reboots=True),
    Cut("power cut before the confirmation", partial(reboot, line=None), reboots=True),
    Cut(f"`systemctl reboot` at `{_WEB}`", reboot_in_order, reboots=True),
    Cut("disk full while staging", full_while_staging),
    Cut("disk full while an env is built", full_while_building, new_env=True),
    Cut("disk full at the state in mid-bridge (looked after every 60 s)", full_journal),
)

RUN = [cuts]
