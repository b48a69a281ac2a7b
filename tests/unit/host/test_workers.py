"""What is read from systemd of a worker that goes over."""

from __future__ import annotations

from typing import Any

import pytest

from farrier_host.release.bells import ASLEEP, sleepers
from farrier_host.release.files import FileSet
from farrier_host.release.systemd import Seen
from farrier_host.release.workers import (
    ENDS,
    STARTS,
    all_taken,
    has_dozed,
    has_moved,
    is_broken,
    is_taken,
    job_of,
    may_wait,
    told,
)

WAITS = "waiting for GPU 0: 11 GB held by my job 7 (PID 4711, alice, no unit of ours)"
ASKED = {"invocation": "a", "restarts": "1", "job": "4711", "since": "", "then": STARTS}


def seen(**changes: Any) -> Seen:
    values: dict[str, Any] = {
        "state": "active",
        "sub": "running",
        "result": "success",
        "enabled": "enabled",
        "invocation": "a",
        "status": "",
        "restarts": 1,
        "started": 1,
        "changed": 1,
    }
    return Seen(**values | changes)


@pytest.mark.parametrize(
    ("status", "job"),
    [
        ("job 4711", "4711"),
        ("ends job ab12 first", "ab12"),
        ("idle", ""),
        ("ends", ""),
        ("", ""),
        ("jobless", ""),
        (WAITS, ""),
    ],
)
def test_the_job_is_read_from_the_units_status(status: str, job: str) -> None:
    assert job_of(status) == job


@pytest.mark.parametrize(("status", "taken"), [("job 4711", True), (WAITS, True), ("idle", False), ("", False)])
def test_a_worker_that_waits_for_a_card_takes_no_further_job(status: str, taken: bool) -> None:
    assert is_taken(status) is taken


@pytest.mark.parametrize(
    ("statuses", "taken", "waits"),
    [
        ([], False, False),
        (["idle"], False, False),
        ([WAITS], True, True),
        (["job 4711"], True, True),
        (["job ours"], True, False),
        ([WAITS, "idle"], False, True),  # which of them serves our queue is not known
        ([WAITS, "job ours"], True, False),
        (["asleep", ""], False, False),
    ],
)
def test_a_job_may_wait_for_a_worker_that_others_keep(statuses: list[str], taken: bool, waits: bool) -> None:
    assert (all_taken(statuses), may_wait(statuses, {"ours", "queued"})) == (taken, waits)


STATES = {
    "still ends its job": (seen(status="ends job 4711 first"), False, False),
    "between two processes": (seen(state="activating", sub="auto-restart", invocation="b", restarts=2), False, False),
    "starts": (seen(state="activating", sub="start", invocation="b", restarts=2), False, False),
    "is the new one": (seen(invocation="b", restarts=2), True, False),
    "crashed once": (seen(state="activating", sub="auto-restart", invocation="c", restarts=3), False, False),
    "crashed twice": (seen(state="activating", sub="auto-restart", invocation="d", restarts=4), False, True),
    "given up by systemd": (seen(state="failed", sub="failed", invocation="d", restarts=2), False, True),
    "stopped by somebody": (seen(state="inactive", sub="dead", invocation=""), False, True),
    "does not say READY": (
        seen(state="activating", sub="auto-restart", invocation="b", restarts=2, result="timeout"),
        False,
        True,
    ),
}


@pytest.mark.parametrize(("now", "moved", "broken"), STATES.values(), ids=STATES)
def test_a_worker_has_moved_is_broken_or_neither(now: Seen, moved: bool, broken: bool) -> None:
    assert (has_moved(ASKED, now), is_broken(ASKED, now)) == (moved, broken)


def test_a_worker_that_is_no_longer_wanted_has_moved_when_it_is_down() -> None:
    asked = ASKED | {"then": ENDS}
    assert not has_moved(asked, seen(status="ends job 4711 first"))
    assert has_moved(asked, seen(state="inactive", sub="dead", invocation=""))


SLEEPS = seen(state="inactive", sub="dead", invocation="", code=ASLEEP)


def test_a_worker_that_fell_asleep_when_it_was_asked_is_told_from_one_that_was_stopped() -> None:
    assert has_dozed(ASKED, SLEEPS)
    assert not has_dozed(ASKED, seen(state="inactive", sub="dead", invocation=""))
    assert not has_dozed(ASKED, seen(state="failed", sub="failed", invocation="", code=ASLEEP))
    assert not has_dozed(ASKED | {"then": ENDS}, SLEEPS)


WORKER, BELL = "a-worker@0.service", "a-worker@0.socket"
FILES = FileSet(
    starts={"a-worker@.service": (WORKER,), "a-worker@.socket": (BELL,), "a-web.service": ("a-web.service",)},
    changes={"a-worker@.service": "follow", "a-web.service": "bridge"},
)


@pytest.mark.parametrize(
    ("units", "asleep"),
    [
        ({WORKER: SLEEPS, BELL: seen()}, {WORKER}),
        ({WORKER: SLEEPS, BELL: seen(state="inactive")}, set()),  # nobody could wake it
        ({WORKER: SLEEPS, BELL: seen(state="failed")}, set()),  # started too often
        ({WORKER: SLEEPS}, set()),
        ({WORKER: seen(state="failed"), BELL: seen()}, set()),
        ({WORKER: seen(), BELL: seen()}, set()),
        ({"a-web.service": SLEEPS, "a-web.socket": seen()}, set()),  # a web service is to run
    ],
)
def test_who_sleeps_is_down_and_has_a_bell(units: dict[str, Seen], asleep: set[str]) -> None:
    assert sleepers(FILES, units) == asleep


def test_people_are_told_what_follows_and_when() -> None:
    left = {"a-w@1.service": ASKED | {"then": ENDS, "job": ""}, "a-w@0.service": ASKED}
    assert told(left) == ["a-w@0 follows when job 4711 ends", "a-w@1 ends when its job ends"]
