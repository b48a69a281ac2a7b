"""Who still ends a job after a release, when earlier releases left somebody who does."""

from __future__ import annotations

import pytest

from farrier_host.release import systemd
from farrier_host.release.systemd import Seen
from farrier_host.release.workers import still_behind

W0, W1 = "a-worker@0.service", "a-worker@1.service"


def entry(invocation: str, then: str = "starts", release: str = "A") -> dict[str, str]:
    return {"invocation": invocation, "then": then, "release": release, "job": "4711"}


@pytest.fixture(autouse=True)
def _running(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every unit runs as invocation `1`."""
    look = {unit: Seen("active", "running", "", "enabled", "1", "", 0, None, None, 7) for unit in (W0, W1)}
    monkeypatch.setattr(systemd, "look", lambda units: {unit: look[unit] for unit in units})


def test_one_that_follows_since_an_earlier_release_still_does_and_runs_that() -> None:
    asked = {W0: {"invocation": "1", "then": "starts", "job": "4711"}}
    assert still_behind({W0: entry("1")}, asked, [W0], "B")[W0]["release"] == "A"
    assert still_behind({W0: entry("1")}, {}, [W0], "B") == {W0: entry("1")}


def test_one_that_has_another_process_by_now_follows_no_more() -> None:
    assert still_behind({W0: entry("0")}, {}, [W0], "B") == {}


def test_one_that_was_to_end_and_is_wanted_again_starts_again() -> None:
    assert still_behind({W1: entry("1", "ends")}, {}, [W0, W1], "B")[W1]["then"] == "starts"


def test_one_that_is_to_end_is_watched_until_it_has() -> None:
    assert still_behind({W1: entry("1", "ends")}, {}, [W0], "B") == {W1: entry("1", "ends")}


def test_one_that_was_removed_is_nobodys() -> None:
    assert still_behind({W1: entry("1")}, {}, [W0], "B") == {}
