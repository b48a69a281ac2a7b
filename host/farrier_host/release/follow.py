"""After a play has ended: workers that still end a job go over, are gated, and go back alone where they fail."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from farrier_host.release import files, history, state, systemd
from farrier_host.release.decide import template_of
from farrier_host.release.files import Refused, write_atomically
from farrier_host.release.history import Entry
from farrier_host.release.layout import Layout
from farrier_host.release.state import State
from farrier_host.release.systemd import Failed, Seen
from farrier_host.release.transaction import Transaction
from farrier_host.release.verify import Verifier, VerifyFailed
from farrier_host.release.workers import ENDS, Workers, has_dozed, has_moved, is_broken, job_of, may_wait

_PAUSE = 1.0  # seconds between two looks


class Follower:
    """Waits for the workers of one stack that follow later."""

    def __init__(self, layout: Layout, stack: str, say: Callable[[str], None]) -> None:
        self.layout, self.stack, self.say = layout, stack, say
        self.transaction = Transaction(layout, stack, say)
        self.moved: list[str] = []
        self.release = state.load(layout, stack).active

    def run(self) -> None:
        """Until every worker has gone over or back, or another release is going live."""
        while True:
            now = state.load(self.layout, self.stack)
            if not self._is_ours(now):
                self.say("another release is going live; it takes the workers along")
                return
            if not now.followers:
                break
            for unit, seen in systemd.look(now.followers).items():
                self._look(now, unit, seen)
            time.sleep(_PAUSE)
        if self.release is not None and not now.proven:
            self._prove(self.release)

    def _is_ours(self, now: State) -> bool:
        """Whether the release whose workers we follow is still the live one."""
        return now.active == self.release and now.is_settled

    def _look(self, now: State, unit: str, seen: Seen) -> None:
        entry = now.followers[unit]
        if has_moved(entry, seen):
            self._drop(unit)
            ended = entry["then"] == ENDS
            if ended:
                Workers(self.layout, self.say).want([unit])  # so that nothing of it is left in /run
            self.moved += [] if ended else [unit]
            self._note(unit, f"{unit} has ended its last job" if ended else f"{unit} runs the release")
        elif has_dozed(entry, seen):
            systemd.start_later(unit)
        elif is_broken(entry, seen):
            reason = f"it does not start ({seen.result})\n{systemd.journal(unit)}"
            self._back_alone(unit, reason)
        elif job_of(seen.status) not in ("", entry["job"]):
            self._change(lambda at: {**at.followers, unit: entry | {"job": job_of(seen.status)}})

    def _prove(self, release: str) -> None:
        """The real job that no worker was free for before; where it fails, the workers that came last go back."""
        try:
            verifier = Verifier(self.layout, self.stack, release, self.say)
            verifier.is_held = lambda: self._is_held(verifier, release)
            verifier.run()
        except (VerifyFailed, OSError) as error:
            for unit in self.moved or self._workers(release):
                self._back_alone(unit, str(error))
        else:
            self.say("a real job is proven")
        with self.transaction.lock():
            now = state.load(self.layout, self.stack)
            if self._is_ours(now):
                self.transaction.save(replace(now, proven=True))

    def _is_held(self, verifier: Verifier, release: str) -> bool:
        """Whether the proof's job may wait for a worker that has another one in hand, or that waits for a GPU."""
        if not self._is_ours(state.load(self.layout, self.stack)):
            return False
        return may_wait([seen.status for seen in systemd.look(self._workers(release)).values()], verifier.values)

    def _workers(self, release: str) -> list[str]:
        wanted = files.of_release(self.layout, self.stack, release)
        return [unit for unit in wanted.instances() if wanted.change_of(unit) == "follow"]

    def _back_alone(self, unit: str, reason: str) -> None:
        """Give one worker the text of the release before; systemd takes an instance's file before the template's."""
        with self.transaction.lock():
            now = state.load(self.layout, self.stack)
            if not self._is_ours(now):  # we waited for the lock while another release went live
                return
            before = now.followers.get(unit, {}).get("release") or now.previous
            if before is None:
                self._note(unit, f"{unit} is broken, and there is no release before: {reason}")
            else:
                self._to_old_text(unit, before)
                reason = f"it runs release {before}: {reason}"
                self._note(unit, f"{unit} went back alone, {reason}")
            left = {name: each for name, each in now.followers.items() if name != unit}
            self.transaction.save(replace(now, followers=left, alone=now.alone | {unit: reason}))

    def _to_old_text(self, unit: str, release: str) -> None:
        old = files.of_release(self.layout, self.stack, release)
        text = old.units.get(unit) or old.units.get(template_of(unit))
        if text is None:
            systemd.stop([unit])
            return
        write_atomically(self.layout.units / unit, text)
        systemd.daemon_reload()
        try:
            systemd.restart(unit)
        except Failed as error:
            self.say(f"{unit}: {error.reason}")

    def _drop(self, unit: str) -> None:
        self._change(lambda now: {name: each for name, each in now.followers.items() if name != unit})

    def _change(self, followers: Callable[[State], dict[str, dict[str, str]]]) -> None:
        with self.transaction.lock():
            now = state.load(self.layout, self.stack)
            if self._is_ours(now):
                self.transaction.save(replace(now, followers=followers(now)))

    def _note(self, unit: str, result: str) -> None:
        self.say(result)
        release = state.load(self.layout, self.stack).active
        history.note(self.layout, self.stack, Entry("follow", release, result.split("\n", 1)[0], who=unit))


def follow(layout: Layout, stack: str, say: Callable[[str], None]) -> None:
    """Follow the stack's workers to the end. Raises Refused where the stack has no release."""
    now = state.load(layout, stack)
    if now.active is None:
        raise Refused(f"{stack}: nothing is live")
    # Its followers may come from a release that went live while we looked after another one.
    while now.followers or not (now.proven and now.is_settled):
        if now.is_settled:
            Follower(layout, stack, say).run()
        else:
            time.sleep(_PAUSE)
        now = state.load(layout, stack)
