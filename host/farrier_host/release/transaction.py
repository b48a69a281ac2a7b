"""Going live: activate, then confirm, or go back. What is live is either one release or the other, never a mixture."""

from __future__ import annotations

import fcntl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from farrier_host.release import files, state, systemd
from farrier_host.release.decide import decide
from farrier_host.release.files import FileSet, Refused
from farrier_host.release.health import outdated
from farrier_host.release.http import status_of
from farrier_host.release.layout import Layout
from farrier_host.release.state import ACTIVATING, CONFIRMED, UNCONFIRMED, State
from farrier_host.release.systemd import Failed

Say = Callable[[str], None]
Step = Callable[[], None]
_GATE_REQUEST = 5.0  # seconds for one request of a gate
_GATE_PAUSE = 0.2
_LONGEST_ACTIVATION = 3600  # seconds after which one that has not come to its end is taken for dead


class Transaction:
    """Changes what is live of one stack. `say` is told each step, for the terminal or the journal."""

    def __init__(self, layout: Layout, stack: str, say: Say) -> None:
        self.layout, self.stack, self.say = layout, stack, say

    def activate(self, release: str, confirm_within: int) -> State:
        """Make `release` live; on a failed step the release before it comes back and Failed is raised.

        It stays `unconfirmed`; after `confirm_within` seconds without `confirm` it goes back by itself. So it does when
        this process is killed in the middle: the timer is set before anything changes.
        """
        new = files.of_release(self.layout, self.stack, release)
        with self._lock():
            before = self._settled()
            if before.active == release:
                self._mend(release)
                return before
            old = self._live_now(before.active)
            self._save(State(ACTIVATING, release, before.active))
            try:
                self._go_back_later(release, confirm_within + _LONGEST_ACTIVATION)
                for step in self._steps(old, new, release):
                    step()
            except (Failed, OSError) as error:
                self._restore(before.active, _reason(error))
                raise
            self._point_current(release)
            self._go_back_later(release, confirm_within)
            return self._save(State(UNCONFIRMED, release, before.active))

    def confirm(self, release: str) -> State:
        """Somebody proved that `release` works: it stays. Raises Refused when it is no longer there to confirm."""
        with self._lock():
            now = state.load(self.layout, self.stack)
            if now.phase == ACTIVATING:
                raise Refused(
                    f"{self.stack}: release {now.active} is not up yet: its activation runs, or died half-way"
                )
            if now.active != release:
                raise Refused(f"{self.stack}: release {release} is not live, {now.active} is. {now.message}".rstrip())
            after = now if now.is_settled else self._save(State(CONFIRMED, release, now.previous))
            self._forget_timer(release)
            return after

    def back(self, reason: str, only: str | None = None) -> State:
        """Take an unconfirmed release back (`only`: if it is still that one). Raises Refused when all is confirmed."""
        with self._lock():
            now = state.load(self.layout, self.stack)
            if now.is_settled or only not in (None, now.active):
                raise Refused(
                    f"{self.stack}: nothing to take back, release {now.active} is confirmed since {now.since}"
                )
            return self._restore(now.previous, reason)

    def recover(self) -> State | None:
        """At early boot, after a crash in the middle: the old files, before anything starts. None: nothing was open."""
        now = state.load(self.layout, self.stack)
        if now.is_settled:
            return None
        old, failed = files.of_release(self.layout, self.stack, now.previous), self._live_now(now.active, now.previous)
        # What starts at boot is set anew as a whole: the crash may have come between a unit and its link.
        whole = decide(FileSet(), old)
        systemd.disable(decide(failed, old).disable)
        files.replace_units(self.layout, failed, old)
        files.replace_sites(self.layout, failed, old)
        systemd.daemon_reload()
        systemd.enable(whole.enable)
        if old.units:
            systemd.start_later(f"{self.stack}.target")
        self._point_current(now.previous)
        message = f"release {now.active} was taken back at boot: nobody had confirmed it before the host went down"
        return self._save(State(CONFIRMED, now.previous, None, message=message))

    def _mend(self, release: str) -> None:
        """Bring the live release to what it should be: its files, and every unit up."""
        try:
            for step in self._steps(
                self._live_now(release), files.of_release(self.layout, self.stack, release), release
            ):
                step()
        except (Failed, OSError) as error:
            unit = error.unit if isinstance(error, Failed) else self.stack
            raise Failed(unit, f"release {release} is live and could not be mended: {_reason(error)}") from None
        self._point_current(release)

    def _settled(self) -> State:
        """The state, after taking back what an earlier activation left open (its play died, or it crashed)."""
        now = state.load(self.layout, self.stack)
        if now.is_settled:
            return now
        return self._restore(now.previous, "it was never confirmed, and another activation began")

    def _steps(self, old: FileSet, new: FileSet, release: str | None) -> Iterator[Step]:
        """What leads from the live files `old` to those of `release`, in order; each step may raise Failed."""
        actions = decide(old, new)
        plan = files.read_plan(self.layout, self.stack, release) if release else {"units": [], "gates": []}
        # What an administrator disabled or masked stays down.
        down = systemd.kept_down([unit for unit in new.instances() if unit not in actions.enable])
        restart = dict.fromkeys([*actions.restart, *outdated(plan, [*actions.start])])
        yield partial(systemd.stop, [*actions.disable, *actions.stop])
        yield partial(systemd.disable, actions.disable)
        yield partial(files.replace_units, self.layout, old, new)
        yield systemd.daemon_reload
        yield partial(systemd.enable, actions.enable)
        yield from (partial(self._restart, unit) for unit in restart if unit not in down)
        yield from (partial(systemd.start, unit) for unit in actions.start if unit not in down)
        # Readiness may hang on what is down on purpose.
        yield from (partial(self._gate, gate) for gate in plan["gates"] if not down)
        if old.sites != new.sites:
            yield partial(files.replace_sites, self.layout, old, new)
            yield self._reload_caddy

    def _restart(self, unit: str) -> None:
        self.say(f"restart {unit}")
        systemd.restart(unit)

    def _gate(self, gate: dict[str, Any]) -> None:
        self.say(f"wait until {gate['unit']} is ready")
        deadline = time.monotonic() + gate["within"]
        status, body = status_of(gate["socket"], gate["path"], _GATE_REQUEST)
        while status != 200:
            if time.monotonic() > deadline:
                raise Failed(
                    gate["unit"], f"GET {gate['path']} answers {status or 'nothing'} after {gate['within']} s: {body}"
                )
            time.sleep(_GATE_PAUSE)
            status, body = status_of(gate["socket"], gate["path"], _GATE_REQUEST)

    def _reload_caddy(self) -> None:
        self.say("reload Caddy")
        systemd.reload_caddy()

    def _restore(self, previous: str | None, reason: str) -> State:
        """Put `previous` back. A step that fails is told, and must not keep the others from being done."""
        failed = state.load(self.layout, self.stack)
        self.say(f"going back to {previous or 'nothing (there was no release before)'}")
        try:
            old = files.of_release(self.layout, self.stack, previous)
        except Refused as error:
            return self._save(
                State(CONFIRMED, failed.active, None, message=f"{reason}\nNothing to go back to: {error}")
            )
        for step in self._steps(self._live_now(failed.active, previous), old, previous):
            try:
                step()
            except (Failed, OSError) as error:
                reason += f"\nGoing back met a fault of its own: {_reason(error)}"
        self._point_current(previous)
        after = State(CONFIRMED, previous, None, message=f"release {failed.active} was taken back: {reason}")
        self._save(after)
        self._forget_timer(failed.active)
        return after

    def _live_now(self, *releases: str | None) -> FileSet:
        """What is live, whichever of the releases put it there."""
        starts: dict[str, tuple[str, ...]] = {}
        for release in releases:
            with suppress(Refused):  # its folder was deleted: what it started is not known
                starts = files.of_release(self.layout, self.stack, release).starts | starts
        return files.live(self.layout, self.stack, starts)

    def _save(self, new: State) -> State:
        return state.save(self.layout, self.stack, new)

    def _point_current(self, release: str | None) -> None:
        """`current` is for people; nothing that runs goes through it."""
        link, fresh = self.layout.home(self.stack) / "current", self.layout.home(self.stack) / ".current"
        if release is None:
            link.unlink(missing_ok=True)
            return
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(f"releases/{release}")
        fresh.replace(link)

    def _go_back_later(self, release: str, seconds: int) -> None:
        """Set the timer anew: the last one set counts."""
        self._forget_timer(release)
        name = self._timer(release)
        timer = ["systemd-run", "--quiet", "--collect", f"--unit={name}", f"--on-active={seconds}"]
        expire = ["/usr/local/sbin/farrier-release", "expire", self.stack, release]
        systemd.run([*timer, "--timer-property=AccuracySec=1s", *expire], name)

    def _forget_timer(self, release: str | None) -> None:
        subprocess.run(["systemctl", "stop", f"{self._timer(release)}.timer"], check=False, capture_output=True)

    def _timer(self, release: str | None) -> str:
        # With the release in its name: the timer of an earlier one may have run out and wait for its turn.
        return f"farrier-goback-{self.stack}-{release}"

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One change of what is live at a time on this host."""
        self.layout.lock.parent.mkdir(parents=True, exist_ok=True)
        with self.layout.lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _reason(error: Failed | OSError) -> str:
    """Unit, cause and its last journal lines, for the person who reads the failed play."""
    if isinstance(error, OSError):
        return str(error)
    # Caddy's journal is its access log in JSON: what it says against a configuration is in the reason already.
    lines = systemd.journal(error.unit) if error.unit != "caddy.service" else ""
    tail = f"\nLast lines of `journalctl -u {error.unit}`:\n{lines}" if lines else ""
    return f"{error.unit}: {error.reason}{tail}"
