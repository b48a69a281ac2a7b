"""Workers go over when the job in hand is done: no release ends a running job."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from farrier_host.release import systemd
from farrier_host.release.bells import ASLEEP, bell_of
from farrier_host.release.files import write_atomically
from farrier_host.release.layout import Layout
from farrier_host.release.state import utc
from farrier_host.release.systemd import Failed, Seen

Followers = dict[str, dict[str, str]]  # as in State
FOLLOW, WAIT, NOW = "follow", "wait", "now"
STARTS, ENDS = "starts", "ends"  # what a worker does once its job has ended
PATIENCE = 15.0  # seconds that an idle worker has to come back as the new one
_CRASHES = 3  # starts by systemd after which a worker that never says READY is taken for broken
_PAUSE = 0.3
_SAY_EVERY = 30.0


def job_of(status: str) -> str:
    """The job that a worker says it works on (`job 4711`, `ends job 4711 first`); empty when it names none."""
    found = re.match(r"(?:ends )?job (\S+)", status)
    return found[1] if found else ""


def is_taken(status: str) -> bool:
    """Whether a worker says that it has a job in hand, or that it waits for a GPU: another job would have to wait."""
    return bool(job_of(status)) or status.startswith("waiting for GPU")


def all_taken(statuses: Collection[str]) -> bool:
    """Whether there are workers, and none of them could begin a job."""
    return bool(statuses) and all(map(is_taken, statuses))


def may_wait(statuses: Collection[str], jobs: Collection[str]) -> bool:
    """Whether one of these jobs may wait for a worker that is taken: there is such a one, and none has it in hand.

    Not each worker serves each queue, and one that is idle begins what it serves within a second or two.
    """
    return any(map(is_taken, statuses)) and not any(job_of(status) in jobs for status in statuses)


def has_moved(entry: Mapping[str, str], now: Seen) -> bool:
    """Whether another process than the one asked runs now and has said READY; or none, where it was to end for good."""
    if entry["then"] == ENDS:
        return now.is_down
    return now.is_up and now.invocation != entry["invocation"]


def has_dozed(entry: Mapping[str, str], now: Seen) -> bool:
    """Whether it fell asleep instead of ending as it was asked to; it is wanted awake, to prove the new text."""
    return entry["then"] == STARTS and now.state == "inactive" and now.code == ASLEEP


def is_broken(entry: Mapping[str, str], now: Seen) -> bool:
    """Whether the process after the one that was asked will not come up."""
    crashed = now.restarts >= int(entry["restarts"]) + _CRASHES and not now.is_up
    hung = now.sub == "auto-restart" and now.result == "timeout"
    return now.invocation != entry["invocation"] and (now.is_down or crashed or hung)


class Workers:
    """Asks workers to go over. `say` is told what goes on."""

    def __init__(self, layout: Layout, say: Callable[[str], None]) -> None:
        self.layout, self.say = layout, say

    def ask(self, units: Sequence[str], then: str = STARTS) -> Followers:
        """Ask running workers to end after their job; systemd starts them again from the new text."""
        for unit in units:  # each end counts as a start: the sixth release within two minutes would find it failed
            systemd.forget_starts(unit)
        seen = systemd.look(units)
        for unit in units:
            systemd.ask_to_end(unit)
        return {
            unit: {
                "invocation": seen[unit].invocation,
                "restarts": str(seen[unit].restarts),
                "job": job_of(seen[unit].status),
                "since": utc(),
                "then": then,
            }
            for unit in units
        }

    def let_go(self, units: Sequence[str]) -> Followers:
        """Ask workers that are no longer wanted to end after their job; nothing starts them again, no bell either."""
        systemd.stop([bell_of(unit) for unit in units])
        for unit in units:
            write_atomically(self._ending(unit), "[Service]\nRestart=no\n")
        systemd.daemon_reload()
        return self.ask(units, ENDS)

    def want(self, units: Sequence[str]) -> None:
        """Forget that units were let go: they have ended, or are wanted after all and start again when they end."""
        endings = [self._ending(unit) for unit in units if self._ending(unit).exists()]
        for path in endings:
            path.unlink()
            with suppress(OSError):  # an administrator's drop-in is there too
                path.parent.rmdir()
        if endings:
            systemd.daemon_reload()

    def _ending(self, unit: str) -> Path:
        return self.layout.passing_units / f"{unit}.d" / "farrier-ends.conf"

    def await_over(self, asked: Followers, mode: str) -> Followers:
        """Wait for the workers that were asked; gives those that still end a job. Raises Failed for a broken one."""
        left, begun, said = dict(asked), time.monotonic(), time.monotonic()
        while left:
            for unit, now in systemd.look(left).items():
                left = self._looked(left, unit, now)
            waited = time.monotonic() - begun
            if mode != WAIT and waited > PATIENCE and not self._starting(left):
                break
            if mode != WAIT and waited > 2 and left and all(each["job"] for each in left.values()):
                break
            if left and time.monotonic() - said > _SAY_EVERY:
                self.say("; ".join(told(left)))
                said = time.monotonic()
            time.sleep(_PAUSE)
        return left

    def _looked(self, left: Followers, unit: str, now: Seen) -> Followers:
        """`left` after a look at one of them."""
        entry = left[unit]
        if has_moved(entry, now):
            self.say(f"{unit} runs the release")
            return {name: each for name, each in left.items() if name != unit}
        if has_dozed(entry, now):
            systemd.start_later(unit)
            return left
        if is_broken(entry, now):
            raise Failed(unit, f"it does not start ({now.result})")
        return left | {unit: entry | {"job": job_of(now.status) or entry["job"]}}

    @staticmethod
    def _starting(left: Followers) -> bool:
        """Whether one of them is between its old process and its new one."""
        return any(not now.is_up and not now.is_down for now in systemd.look(left).values())


def still_behind(before: Followers, asked: Followers, wanted: Iterable[str], release: str | None) -> Followers:
    """The workers that still end a job, with the release that each runs: `release` for those that were `asked` now.

    Of those `before`, the ones whose process is still the same; one that is `wanted` again is not to end for good.
    """
    seen, here = systemd.look(before), set(wanted)
    kept = {
        unit: each | {"then": STARTS if unit in here else ENDS}
        for unit, each in before.items()
        if seen[unit].invocation == each["invocation"] and (unit in here or each["then"] == ENDS)
    }
    runs = {unit: before.get(unit, {}).get("release") or release or "" for unit in asked}
    return kept | {unit: entry | {"release": runs[unit]} for unit, entry in asked.items()}


def told(left: Followers) -> list[str]:
    """A sentence for each worker that follows later."""
    return [
        f"{unit.removesuffix('.service')} {'ends' if each['then'] == ENDS else 'follows'} when "
        + (f"job {each['job']} ends" if each["job"] else "its job ends")
        for unit, each in sorted(left.items())
    ]
