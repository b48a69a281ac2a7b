"""Going live: activate, then confirm, or go back. What is live is either one release or the other, never a mixture."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from farrier_host.release import files, migration, state, systemd, timers
from farrier_host.release.decide import decide
from farrier_host.release.files import FileSet, Refused
from farrier_host.release.layout import Layout
from farrier_host.release.state import ACTIVATING, CONFIRMED, UNCONFIRMED, State
from farrier_host.release.step import Step
from farrier_host.release.systemd import Failed
from farrier_host.release.ways import Ways
from farrier_host.release.workers import FOLLOW, still_behind

Say = Callable[[str], None]


class Transaction:
    """Changes what is live of one stack. `say` is told each step, for the terminal or the journal."""

    def __init__(self, layout: Layout, stack: str, say: Say) -> None:
        self.layout, self.stack, self.say = layout, stack, say
        self._ways = Ways(layout, stack, say)

    def activate(self, release: str, confirm_within: int, who: str = "", mode: str = FOLLOW) -> State:
        """Make `release` live; on a failed step the release before it comes back and Failed is raised.

        It stays `unconfirmed`; after `confirm_within` seconds without `confirm` it goes back by itself. So it does when
        this process is killed in the middle: a timer looks after it. `mode`: how workers go over.
        """
        plan = files.read_plan(self.layout, self.stack, release)
        with self.lock():
            before = self._settled()
            migration.check(plan, before.database)
            if before.active == release:
                return self._mend(release, before, mode)
            timers.look_after(self.stack)
            opened = replace(before, phase=ACTIVATING, active=release, previous=before.active, earlier=before.previous)
            self.save(replace(opened, who=who, message="", touched=(), alone_before=before.alone))
            try:
                self._migrate(plan)
                # What the old release started is in its plan; where that was deleted, the new one's is the best guess.
                way = self._ways.between([before.active, release], release)
                way.mode = mode
                self._carry_out(way.steps([]))
                files.point_current(self.layout, self.stack, release)
                timers.go_back_later(self.stack, release, confirm_within)
            except (Failed, OSError) as error:
                self._restore(_reason(error))
                raise
            now = state.load(self.layout, self.stack)
            left = still_behind(before.followers, way.followers, way.new.instances(), before.active)
            now = self.save(replace(now, phase=UNCONFIRMED, followers=left, proven=False, alone={}))
            timers.look_away(self.stack)
            return now

    def confirm(self, release: str) -> State:
        """Somebody proved that `release` works: it stays. Raises Refused when it is no longer there to confirm."""
        with self.lock():
            now = state.load(self.layout, self.stack)
            if now.phase == ACTIVATING:
                raise Refused(
                    f"{self.stack}: release {now.active} is not up yet: its activation runs, or died half-way"
                )
            if now.active != release:
                raise Refused(f"{self.stack}: release {release} is not live, {now.active} is. {now.message}".rstrip())
            if not now.is_settled:
                now = self.save(replace(now, phase=CONFIRMED, earlier=None, touched=(), alone_before={}))
            timers.forget(self.stack, release)
            self._let_follow(now)
            return now

    def note_proven(self) -> None:
        """A real job went through the workers."""
        with self.lock():
            self.save(replace(state.load(self.layout, self.stack), proven=True))

    def forget_database(self) -> None:
        """What is remembered of its schema is not so any more; each release's own program looks for itself."""
        with self.lock():
            self.save(replace(state.load(self.layout, self.stack), database={}))

    def back(self, reason: str, only: str | None = None) -> State:
        """Take an unconfirmed release back (`only`: if it is still that one). Raises Refused when all is confirmed."""
        with self.lock():
            now = state.load(self.layout, self.stack)
            if now.is_settled or only not in (None, now.active):
                raise Refused(
                    f"{self.stack}: nothing to take back, release {now.active} is confirmed since {now.since}"
                )
            return self._restore(reason)

    def put_away(self, reason: str) -> State:
        """Stop what is live and take its units and routes away; its data stays, and a rollback brings it back."""
        with self.lock():
            if self._settled().active is None:
                return state.load(self.layout, self.stack)
            timers.look_after(self.stack)
            return self._restore(self._to_nothing(reason).message)

    def put_away_at_boot(self, reason: str) -> None:
        """The same at early boot, where nothing runs yet. An activation that was open is taken back first."""
        self.recover()
        if state.load(self.layout, self.stack).active is not None:
            self._to_nothing(reason)
            self.recover()

    def _to_nothing(self, reason: str) -> State:
        """As if what is live were the first release, and failed: a way that can be cut anywhere, and goes on."""
        now = state.load(self.layout, self.stack)
        gone = replace(now, phase=ACTIVATING, previous=None, earlier=now.active, touched=(), alone_before={})
        return self.save(replace(gone, message=reason))

    def settle(self) -> State | None:
        """Take back what an activation left half-way that has come to its end; None: it left nothing."""
        with self.lock():
            now = state.load(self.layout, self.stack)
            # Its timer ran out, and the disk was too full for noting that it goes back.
            is_late = now.phase == UNCONFIRMED and not timers.is_set(self.stack, now.active)
            if now.phase != ACTIVATING and not is_late:
                timers.look_away(self.stack)
                return None
            return self._restore(now.message or ("nobody confirmed it" if is_late else "its activation died half-way"))

    def recover(self) -> State | None:
        """At early boot, after a crash in the middle: the old files, before anything starts. None: nothing was open.

        Every process is new then, so that there is nothing to bridge and no job to end.
        """
        now = state.load(self.layout, self.stack)
        if now.is_settled:
            return None
        old = files.of_release(self.layout, self.stack, now.previous)
        alone = files.alone_texts(self.layout, self.stack, now.alone_before, now.earlier)
        old = replace(old, units={**old.units, **alone})
        failed = self._ways.live(now.active, now.previous)
        # What starts at boot is set anew as a whole: the crash may have come between a unit and its link.
        gone = decide(failed, old)
        systemd.disable([*gone.remove, *gone.retire])
        files.replace_units(self.layout, failed, old)
        files.replace_sites(self.layout, failed, old)
        systemd.daemon_reload()
        systemd.enable(decide(FileSet(), old).enable)
        if old.units:
            systemd.start_later(f"{self.stack}.target")
        files.point_current(self.layout, self.stack, now.previous)
        why = now.message or "nobody had confirmed it before the host went down"
        message = f"release {now.active} was taken back at boot: {why}"
        back = State(CONFIRMED, now.previous, now.earlier, message=message, alone=now.alone_before)
        return self.save(replace(back, database=now.database))

    def _mend(self, release: str, now: State, mode: str) -> State:
        """Bring the live release to what it should be: its files, and every unit up."""
        try:
            self._migrate(files.read_plan(self.layout, self.stack, release))
            way = self._ways.between([release], release)
            way.mode = mode
            self._carry_out(way.steps(self._ways.leftovers([release])), is_noted=False)
        except (Failed, OSError) as error:
            self._leave_alone(now)
            unit = error.unit if isinstance(error, Failed) else self.stack
            raise Failed(unit, f"release {release} is live and could not be mended: {_reason(error)}") from None
        files.point_current(self.layout, self.stack, release)
        database = state.load(self.layout, self.stack).database
        left = still_behind(now.followers, way.followers, way.new.instances(), now.previous)
        after = self.save(replace(now, alone={}, followers=left, database=database))
        self._let_follow(after)
        return after

    def _leave_alone(self, now: State) -> None:
        """Units that had gone back by themselves, and failed again, work on with the older text."""
        texts = files.alone_texts(self.layout, self.stack, now.alone, now.previous)
        for unit, text in texts.items():
            files.write_atomically(self.layout.units / unit, text)
        if texts:
            systemd.daemon_reload()
        for unit in texts:
            with suppress(Failed):
                systemd.restart(unit)

    def _migrate(self, plan: dict[str, Any]) -> None:
        """Bring the database to the release's schema. Going back leaves it there: older releases can serve it too."""
        said = migration.migrate(self.layout, self.stack, plan)
        if said:
            self.say(said)
        now = state.load(self.layout, self.stack)
        self.save(replace(now, database=migration.after(plan, now.database)))

    def _settled(self) -> State:
        """The state, after taking back what an earlier activation left open (its play died, or it crashed)."""
        now = state.load(self.layout, self.stack)
        if now.is_settled:
            return now
        return self._restore("it was never confirmed, and another activation began")

    def _carry_out(self, steps: Iterable[Step], *, is_noted: bool = True) -> None:
        for step in steps:
            if step.touches and is_noted:
                now = state.load(self.layout, self.stack)
                self.save(replace(now, touched=tuple(sorted({*now.touched, *step.touches}))))
            if step.say:
                self.say(step.say)
            step.do()

    def _restore(self, reason: str) -> State:
        """Put the release before back. A step that fails is told, and must not keep the others from being done.

        Files that cannot be written (a full disk) end it, before any process is touched for nothing: it stays open, and
        is tried again every minute. Raises Failed then.
        """
        failed = state.load(self.layout, self.stack)
        was_half_way = failed.phase == ACTIVATING
        if not was_half_way:  # it is, from here on
            timers.look_after(self.stack)
            failed = self.save(replace(failed, phase=ACTIVATING, message=reason))
        previous = failed.previous
        self.say(f"going back to {previous or 'nothing'}")
        try:
            way = self._ways.back(failed)
        except Refused as error:
            return self._stay(failed, f"{reason}\nNothing to go back to: {error}", is_whole=not was_half_way)
        for step in way.steps(self._ways.leftovers([failed.active, previous])):
            try:
                self._carry_out([step], is_noted=False)
            except Failed as error:
                reason += f"\nGoing back met a fault of its own: {_reason(error)}"
            except OSError as error:
                told = f"{reason}\nGoing back to {previous} is tried again every minute, it met: {error}"
                raise Failed(self.stack, told) from None
        files.point_current(self.layout, self.stack, previous)
        message = f"release {failed.active} was taken back: {reason}"
        left = still_behind(failed.followers, way.followers, way.new.instances(), failed.active)
        after = State(CONFIRMED, previous, failed.earlier, message=message, followers=left, alone=failed.alone_before)
        after = self.save(replace(after, database=state.load(self.layout, self.stack).database))
        timers.forget(self.stack, failed.active)
        timers.look_away(self.stack)
        self._let_follow(after)
        return after

    def _stay(self, failed: State, told: str, *, is_whole: bool) -> State:
        """There is no way back: what is live stays, and is brought to its end where it was half-way."""
        now = replace(failed, phase=CONFIRMED, previous=None, earlier=None, message=told, touched=())
        if not is_whole and failed.active:
            try:
                now = self._mend(failed.active, now, FOLLOW)
            except Failed as error:
                now = replace(now, message=f"{told}\n{error.reason}")
        now = self.save(now)
        timers.forget(self.stack, failed.active)
        timers.look_away(self.stack)
        return now

    def _let_follow(self, now: State) -> None:
        """Have the workers watched that follow later, and the real job run that no worker was free for."""
        if now.followers or (now.active and not now.proven):
            systemd.start_later(f"farrier-follow@{self.stack}.service")

    def save(self, new: State) -> State:
        """Write the state down."""
        return state.save(self.layout, self.stack, new)

    @contextmanager
    def lock(self) -> Iterator[None]:
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
    lines = error.said or (systemd.journal(error.unit) if error.unit != "caddy.service" else "")
    # What a second generation said is in no journal of its main unit.
    source = "in its journal" if error.said else f"of `journalctl -u {error.unit}`"
    tail = f"\nLast lines {source}:\n{lines}" if lines else ""
    return f"{error.unit}: {error.reason}{tail}"
