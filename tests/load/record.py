"""What became of each request, and the figures made of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

SHORT, HELLO, SLOW, UPLOAD, POST = "short", "hello", "slow", "upload", "post"
H2_SHORT, H2_SLOW, H2_UPLOAD = "h2 short", "h2 slow", "h2 upload"
AGAIN = "asked again"  # no request of its own: one whose kept connection was closed under it
QUICK = (SHORT, HELLO, POST, H2_SHORT)  # kinds whose seconds tell what a new request waits


@dataclass(frozen=True)
class Request:
    """One request as its client saw it. `error` is empty when the answer was complete and right."""

    kind: str
    started: float  # seconds since 1970
    seconds: float
    error: str = ""

    def is_in_flight(self, moment: float) -> bool:
        """Whether it had begun and not ended."""
        return self.started <= moment <= self.started + self.seconds


@dataclass(frozen=True)
class Figures:
    """Requests of some kinds, counted."""

    sent: int
    failed: int
    slowest: float  # seconds, of the quick kinds

    def __str__(self) -> str:
        return f"sent {self.sent:,}, failed {self.failed}, slowest {self.slowest:.2f} s"


def figures(requests: Sequence[Request], kinds: Collection[str] = ()) -> Figures:
    """Count the requests of these kinds, or of all."""
    counted = [each for each in requests if not kinds or each.kind in kinds]
    quick = [each.seconds for each in counted if each.kind in QUICK]
    return Figures(len(counted), sum(bool(each.error) for each in counted), max(quick, default=0.0))


def by_kind(requests: Sequence[Request]) -> str:
    """`short 2,400 · slow 48 · upload 6`, for the person who reads a run."""
    kinds = dict.fromkeys(each.kind for each in requests)
    return " · ".join(f"{kind} {sum(each.kind == kind for each in requests):,}" for kind in kinds)
