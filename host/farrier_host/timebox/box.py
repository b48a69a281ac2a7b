"""The time that a stack was given: pure functions of it and of the clock on the wall, which people go by."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

EVER = "ever"
LONGEST = 30 * 86400  # seconds; who needs a stack for longer wants it to stay
ANNOUNCED = (15 * 60, 5 * 60)  # seconds before the end
_UNITS = (86400, 3600, 60, 1)
_WRITTEN = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


@dataclass(frozen=True)
class Box:
    """The stack is stopped at `until`. Times are seconds since 1970. `ends`: its workers are being let end."""

    until: int
    since: int
    who: str = ""
    ends: bool = False

    def is_over(self, now: float) -> bool:
        """Whether its time is up."""
        return now >= self.until

    def announcements(self) -> list[int]:
        """When people are told that the end comes: those of ANNOUNCED that lie within the time it was given."""
        return [self.until - before for before in ANNOUNCED if self.until - before > self.since]

    def is_near(self, now: float) -> bool:
        """Whether the end is so near that people are to be told."""
        return self.until - now <= ANNOUNCED[0]


def seconds_of(text: str) -> int:
    """Seconds of `30m`, `2h` or `1d12h`. Raises ValueError that says how to write it."""
    found = _WRITTEN.fullmatch(text.strip())
    amounts = found.groups("0") if found else ()
    seconds = sum(int(amount) * unit for amount, unit in zip(amounts, _UNITS, strict=False))
    if not seconds:
        raise ValueError(f"'{text}' is no time: write 30m, 2h or 1d12h")
    if seconds > LONGEST:
        raise ValueError(f"'{text}' is too long: at most {LONGEST // 86400}d; without a time it stays for ever")
    return seconds


def clock(moment: int, now: float) -> str:
    """`14:30 UTC`, with the day where that is another one; in the time zone of the host."""
    at, today = time.localtime(moment), time.localtime(now)
    day = "" if at[:3] == today[:3] else "%Y-%m-%d "
    return time.strftime(f"{day}%H:%M %Z", at)


def until(box: Box, now: float) -> str:
    """`until 14:30 UTC`; near the end how long that is, and when it is over that it ends."""
    end = clock(box.until, now)
    if box.ends or box.is_over(now):
        return f"its time was over at {end}, it ends"
    return f"until {end}, in {minutes(box.until - now)}" if box.is_near(now) else f"until {end}"


def minutes(seconds: float) -> str:
    """`12 minutes`; less than two in seconds."""
    return f"{round(seconds / 60)} minutes" if seconds >= 90 else f"{round(seconds)} s"


def asked(box: Box, contact: str) -> str:
    """Whom to ask."""
    return contact or box.who or "whoever deployed it"


def announcement(stack: str, host: str, box: Box, contact: str, now: float) -> str:
    """What everybody who is logged in reads before the end."""
    return (
        f"{stack} on {host} ends in {minutes(box.until - now)}, at {clock(box.until, now)}: that is the time "
        f"{box.who or 'its deploy'} asked for.\n"
        f"Jobs in hand may end; then it is stopped, and its cards are free. To keep it:\n"
        f"    farrier-release extend {stack} 1h\n"
        f"Ask {asked(box, contact)}."
    )


def farewell(stack: str, host: str, box: Box, contact: str, now: float) -> str:
    """What they read when it ends."""
    return (
        f"{stack} on {host} ends: its time was over at {clock(box.until, now)}. Jobs in hand may end first.\n"
        f"`farrier-release rollback {stack}` brings it back. Ask {asked(box, contact)}."
    )
