"""Did every accepted job end exactly once? Said from the ledger, the files and what clients were told, each apart.

The moves come from triggers in the ledger's own database, so that they say what was committed, whatever the code meant.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

QUEUED, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"
ENDS = (DONE, FAILED, "cancelled")
CAME = ""  # the state before a job was there


@dataclass(frozen=True)
class Row:
    """A job as the ledger has it at the end."""

    id: str
    state: str
    attempt: int
    error: str = ""  # what its user is told of a failure


@dataclass(frozen=True)
class Move:
    """A committed change of a job's state, `at` seconds since 1970 as the process that made it saw them."""

    job: str
    old: str
    new: str
    attempt: int
    at: float


@dataclass(frozen=True)
class Result:
    """A published file: of which job and attempt, and what the pipeline wrote into it (empty for a no-op)."""

    job: str
    attempt: int
    text: str = ""


@dataclass(frozen=True)
class Found:
    """What was found on the host when all was quiet. `left`: jobs whose work folder is still there."""

    rows: Sequence[Row]
    moves: Sequence[Move] = ()
    results: Sequence[Result] = ()
    left: Sequence[str] = ()


@dataclass(frozen=True)
class Told:
    """What the clients know. `accepted`: job -> what its result must hold; `ends`: job -> every end it was told."""

    accepted: Mapping[str, str]
    ends: Mapping[str, Collection[str]] = field(default_factory=dict)
    twice: Collection[str] = ()  # job ids that two submissions were given


@dataclass(frozen=True)
class Expected:
    """What this fault costs: how many jobs fail, with which words for their users; and attempts a job at most."""

    failures: int = 0
    words: str = ""
    attempts: int = 3


def audit(found: Found, told: Told, expected: Expected) -> list[str]:
    """Everything that is not as it should be, one line each; empty when each accepted job ended exactly once."""
    rows = {row.id: row for row in found.rows}
    results = defaultdict(list)
    for result in found.results:
        results[result.job].append(result)
    lines = [f"{job}: its id was given to two submissions" for job in told.twice]
    lines += [f"{job}: was accepted, and the ledger does not know it" for job in told.accepted if job not in rows]
    lines += [f"{job}: has a result, and the ledger does not know it" for job in results if job not in rows]
    lines += [f"{job}: its work folder is still there" for job in found.left]
    failures = sum(row.state == FAILED for row in found.rows)
    if failures != expected.failures:
        lines.append(f"{failures} jobs failed, {expected.failures} were to")
    ends = ends_of(found.moves)
    for row in found.rows:
        lines += [f"{row.id}: {line}" for line in _of_state(row, ends[row.id], expected)]
        lines += [f"{row.id}: {line}" for line in _of_results(row, results[row.id], told.accepted.get(row.id))]
        if row.id in told.accepted:
            lines += [f"{row.id}: {line}" for line in _of_answers(row, told.ends.get(row.id, ()))]
    return lines


def ends_of(moves: Sequence[Move]) -> Counter[str]:
    """How often each job ended."""
    return Counter(move.job for move in moves if move.new in ENDS)


def doubled(found: Found) -> int:
    """How many jobs ended more than once, or have more than one result."""
    published = Counter(result.job for result in found.results)
    return len({job for count in (ends_of(found.moves), published) for job, times in count.items() if times > 1})


def _of_state(row: Row, ends: int, expected: Expected) -> Iterator[str]:
    if row.state not in ENDS:
        yield f"is still {row.state} in attempt {row.attempt}"
    elif ends != 1:
        yield f"ended {ends} times"
    if row.attempt > expected.attempts:
        yield f"cost {row.attempt} attempts, at most {expected.attempts} are allowed"
    if row.state == FAILED and not (expected.failures and expected.words in row.error):
        yield f"failed: {row.error}"


def _of_results(row: Row, results: Sequence[Result], text: str | None) -> Iterator[str]:
    attempts = sorted(result.attempt for result in results)
    wanted = [row.attempt] if row.state == DONE else []
    if attempts != wanted:
        yield f"is {row.state} in attempt {row.attempt} and has results of attempts {attempts}"
    if row.state == DONE and text is not None and any(result.text != text for result in results):
        yield f"its result says {[result.text for result in results]}, not {text!r}"


def _of_answers(row: Row, ends: Collection[str]) -> Iterator[str]:
    if set(ends) != {row.state}:
        yield f"is {row.state}, and its client was told {sorted(ends) or 'of no end'}"


@dataclass(frozen=True)
class Moment:
    """Something was broken at `struck`; from `well` on a worker and all that it needs is there again."""

    struck: float
    well: float


def longest_recovery(moves: Sequence[Move], moments: Sequence[Moment]) -> float:
    """Seconds: the longest that jobs waited for a worker that was there, or one whose worker died for another.

    The time in which a worker holds another job counts too, so this is never too short.
    """
    return max((*_again(moves, moments), *_stalls(moves, moments)), default=0.0)


def _again(moves: Sequence[Move], moments: Sequence[Moment]) -> Iterator[float]:
    """For each attempt after the first: how long after the fault that ended the one before."""
    claimed: dict[str, float] = {}
    for move in moves:
        if move.new == RUNNING:
            if move.job in claimed:
                yield _well(claimed[move.job], move.at, moments)
            claimed[move.job] = move.at


def _stalls(moves: Sequence[Move], moments: Sequence[Moment]) -> Iterator[float]:
    """Times without a claim while jobs waited, but for those in which something was broken."""
    waiting, since = 0, 0.0
    for move in sorted(moves, key=lambda move: move.at):
        if move.new == RUNNING:
            if waiting:
                yield _well(since, move.at, moments)
            waiting, since = max(0, waiting - 1), move.at
        elif move.new == QUEUED:
            since = move.at if not waiting else since
            waiting += 1


def _well(begin: float, end: float, moments: Sequence[Moment]) -> float:
    """The part of that time after the last fault in it."""
    for moment in moments:
        if moment.struck <= end and moment.well > begin:
            begin = moment.well
    return max(0.0, end - begin)
