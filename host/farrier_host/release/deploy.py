"""A deploy or a rollback from its beginning to its end, under the stack's lock, and what is told of it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from farrier_host.release import files, history, lock, migration, state, systemd
from farrier_host.release.files import Refused
from farrier_host.release.health import complaints, missing
from farrier_host.release.history import Entry
from farrier_host.release.layout import Layout
from farrier_host.release.state import State
from farrier_host.release.systemd import Failed
from farrier_host.release.transaction import Transaction
from farrier_host.release.verify import Verifier, VerifyFailed
from farrier_host.release.workers import all_taken, may_wait, told
from farrier_host.timebox import store as timebox

Say = Callable[[str], None]
DONE, FAILED, REFUSED, FOLLOWS = 0, 1, 2, 3  # exit codes
_TOOL = "/usr/local/sbin/farrier-release"
_PAUSE = 0.5  # seconds between two looks


@dataclass
class Outcome:
    """How it went; also what `--json` prints. `restarted`: units with another process than before."""

    stack: str
    release: str
    result: str = "done"
    changed: bool = False
    said: list[str] = field(default_factory=list)
    restarted: list[str] = field(default_factory=list)
    followers: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    error: str = ""

    @property
    def code(self) -> int:
        """The exit code."""
        if self.error:
            return FAILED
        return FOLLOWS if self.followers else DONE


@dataclass(frozen=True)
class Order:
    """Who wants what: `workers` says how workers go over (follow, wait, now)."""

    who: str
    reason: str = ""
    workers: str = "follow"
    confirm_within: int = 600  # seconds
    verify: bool = False  # also when nothing changed
    restored: bool = False  # the database was put back from a snapshot
    lasts: str = ""  # the time that the stack is given, as `2h`; EVER; empty: as it is


class Deployer:
    """Carries out orders for one stack. `say` is told each step."""

    def __init__(self, layout: Layout, stack: str, order: Order, say: Say) -> None:
        self.layout, self.stack, self.order, self.say = layout, stack, order, say
        self.transaction = Transaction(layout, stack, say)

    def deploy(self, release: str) -> Outcome:
        """Make a release live and prove it; or, where it is live, mend what is not well. Raises Refused."""
        plan = files.read_plan(self.layout, self.stack, release)
        with lock.hold(self.layout, self.stack, self.order.who, f"deploy of {release}"):
            self._await_end()
            now = state.load(self.layout, self.stack)
            self._check(plan, release, now)
            is_trial = now.active != release or not now.is_settled
            faults = [] if is_trial else complaints(self.layout, self.stack, release)
            if not is_trial and not faults and not self.order.verify:
                well = f"{self.stack}: release {release} is live, and all is well with it"
                return self._timed(Outcome(self.stack, release, "nothing to do", said=[well]))
            outcome = Outcome(self.stack, release, changed=is_trial or bool(faults))
            outcome.said += [f"{self.stack}: mended: {fault}" for fault in faults]
            what = "deploy" if is_trial else "mend" if faults else "verify"
            return self._timed(self._noted(what, outcome, partial(self._go_live, outcome, is_trial=is_trial)))

    def _timed(self, outcome: Outcome) -> Outcome:
        """Give the stack the time that was asked for, which begins now that it serves."""
        if not self.order.lasts or outcome.error:
            return outcome
        try:
            told = timebox.give(self.layout, self.stack, self.order.lasts, self.order.who)
        except (Failed, OSError) as error:
            outcome.error, outcome.result = f"{self.stack} serves, but its time could not be set: {error}", "failed"
            return outcome
        if told:
            outcome.said.append(told)
            outcome.changed, outcome.result = True, "done"
            short = told.partition(";")[0].removeprefix(f"{self.stack}: ")
            self._note(outcome, Entry("time", outcome.release, short, self.order.who, self.order.reason))
        return outcome

    def rollback(self, release: str | None) -> Outcome:
        """Bring a release back, the one before where none is named; its gates are its proof. Raises Refused."""
        with lock.hold(self.layout, self.stack, self.order.who, "rollback"):
            self._await_end()
            if self.order.restored:
                self.transaction.forget_database()
            target = self._target(state.load(self.layout, self.stack), release)
            outcome = Outcome(self.stack, target, "rolled back", changed=True)
            return self._noted("rollback", outcome, partial(self._go_back, outcome))

    def _noted(self, what: str, outcome: Outcome, act: Callable[[], None]) -> Outcome:
        """Act; time, processes that are others, followers, and a line in the history."""
        started, before = time.monotonic(), self._processes()
        try:
            act()
        except (Failed, VerifyFailed, OSError) as error:
            outcome.error, outcome.result = str(error), "failed"
        now = state.load(self.layout, self.stack)
        outcome.seconds = round(time.monotonic() - started, 1)
        after = self._processes()
        outcome.restarted = sorted(unit for unit in before.keys() & after.keys() if before[unit] != after[unit])
        outcome.followers = [{"unit": unit, "job": each["job"]} for unit, each in sorted(now.followers.items())]
        outcome.said += [] if outcome.error else told(now.followers)
        if outcome.error:
            outcome.error += f"\nRelease {now.active or '(none)'} serves."
        if outcome.changed or outcome.error:
            short = outcome.error.split("\n", 1)[0] if outcome.error else outcome.result
            entry = Entry(what, outcome.release, short, self.order.who, self.order.reason, outcome.seconds)
            self._note(outcome, entry)
        return outcome

    def _note(self, outcome: Outcome, entry: Entry) -> None:
        try:
            history.note(self.layout, self.stack, entry)
        except OSError as error:
            outcome.said.append(f"{self.stack}: the history could not be written: {error}")

    def _go_live(self, outcome: Outcome, *, is_trial: bool) -> None:
        if outcome.changed:
            self.activate(outcome.release)
        try:
            outcome.said += self._prove()
        except (VerifyFailed, OSError) as error:
            if is_trial:
                with suppress(Refused):  # its time was over meanwhile, and it went back
                    self.transaction.back(str(error), only=outcome.release)
            raise
        if is_trial:
            self._confirm(outcome.release)
            outcome.said.append(f"{self.stack}: release {outcome.release} is confirmed")

    def _go_back(self, outcome: Outcome) -> None:
        self.activate(outcome.release)
        self.transaction.note_proven()  # in its time
        self._confirm(outcome.release)
        outcome.said.append(f"{self.stack}: release {outcome.release} is live again")

    def _confirm(self, release: str) -> None:
        try:
            self.transaction.confirm(release)
        except Refused as error:  # it went back meanwhile
            raise Failed(self.stack, str(error)) from None

    def activate(self, release: str) -> None:
        """Activate under systemd and wait; when this process dies, the activation goes on. Raises Failed, Refused."""
        name = self._activation
        before = state.load(self.layout, self.stack)
        own = ["--who", self.order.who, "--workers", self.order.workers]
        inner = [_TOOL, "run-activation", self.stack, release, *own]
        # However the activation ends, also by kill -9: what it left half-way is taken back.
        unit = ["systemd-run", "--quiet", "--collect", "--wait", f"--unit={name}"]
        # That may take longer than a unit usually has to stop: old processes end their work first.
        unit += [f"--property=ExecStopPost={_TOOL} settle {self.stack}", "--property=TimeoutStopSec=1h"]
        within = ["--confirm-within", str(self.order.confirm_within)]
        done = subprocess.run([*unit, *inner, *within], check=False, capture_output=True, text=True)
        if done.returncode == 0:
            return
        if "already" in done.stderr:
            raise Refused(f"another activation of {self.stack} runs; see `journalctl -fu {name}`")
        now = state.load(self.layout, self.stack)
        has_gone_back = (now.message, now.since) != (before.message, before.since)
        said = now.message if has_gone_back else systemd.journal(name, lines=50)
        raise Failed(name, said)

    @property
    def _activation(self) -> str:
        return f"farrier-activate-{self.stack}"

    def _await_end(self) -> None:
        """Of an activation whose deploy was killed: the stack's lock is ours, so that nobody else waits for it."""
        activation = f"{self._activation}.service"
        if systemd.running([activation]):
            self.say(
                f"an activation whose deploy died still runs; its end is waited for (`journalctl -fu {activation}`)"
            )
        while systemd.running([activation]):
            time.sleep(_PAUSE)

    def _prove(self) -> list[str]:
        """Run the verify steps, as far as the queue where every worker is busy; a line of what was proven."""
        now = state.load(self.layout, self.stack)
        if now.active is None:
            return []
        is_busy = bool(now.followers) or all_taken(self._workers())
        lines: list[str] = []

        def say(line: str) -> None:
            lines.append(line)
            self.say(line)

        verifier = Verifier(self.layout, self.stack, now.active, say)
        verifier.is_stuck = lambda: may_wait(self._workers(), verifier.values)
        steps = verifier.run(as_far_as_queue=is_busy)
        many = f"{steps} {'step' if steps == 1 else 'steps'}"
        shown = lines if self.order.verify else []  # whoever asks for the proof wants to see it
        if verifier.reached_jobs:
            self.transaction.note_proven()
            return [*shown, f"{self.stack}: {many}, all as they should be"]
        return [
            *shown,
            f"{self.stack}: web and queue proven ({many}); their workers have jobs in hand, or wait for a GPU",
        ]

    def _workers(self) -> list[str]:
        """What the stack's workers say that they do."""
        release = state.load(self.layout, self.stack).active
        wanted = files.of_release(self.layout, self.stack, release)
        workers = [unit for unit in wanted.instances() if wanted.change_of(unit) == "follow"]
        return [seen.status for seen in systemd.look(workers).values()]

    def _processes(self) -> dict[str, str]:
        """The invocation of each unit of the stack that is up."""
        names = sorted(path.name for path in self.layout.units.glob("*.service") if files.is_of(path, self.stack))
        plain = [name for name in names if "@." not in name]
        active = state.load(self.layout, self.stack).active
        with suppress(Refused):  # its folder was deleted
            plain += [unit for unit in files.of_release(self.layout, self.stack, active).instances() if "@" in unit]
        return {unit: seen.invocation for unit, seen in systemd.look(dict.fromkeys(plain)).items() if seen.is_up}

    def _target(self, now: State, release: str | None) -> str:
        target = release or now.previous
        if target is None:
            raise Refused(
                f"{self.stack}: no release came before {now.active}; `farrier-release list {self.stack}` shows those "
                "that are kept, and one of them can be named"
            )
        plan = files.read_plan(self.layout, self.stack, target)
        if target == now.active and now.is_settled:
            raise Refused(f"{self.stack}: release {target} is live already")
        self._check(plan, target, now)
        return target

    def _check(self, plan: dict[str, Any], release: str, now: State) -> None:
        """Raises Refused when a release cannot go live on this host."""
        gone = missing(self.layout, plan)
        if gone:
            raise Refused(f"{self.stack}: release {release} cannot go live, it needs what is gone: {', '.join(gone)}")
        migration.check(plan, now.database)


def as_json(outcome: Outcome) -> dict[str, object]:
    """The outcome as `--json` prints it."""
    return asdict(outcome)
