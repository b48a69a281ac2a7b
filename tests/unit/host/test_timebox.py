"""The time that a stack was given, as people write and read it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from farrier_host.release.layout import Layout
from farrier_host.timebox import store
from farrier_host.timebox.box import Box, announcement, farewell, seconds_of, until

NOW = 1_800_000_000  # 2027-01-15 08:00:00 UTC
HOUR = 3600


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("2h", 7200), ("1d12h", 129600), ("1h30m", 5400), (" 90s ", 90)]
)
def test_a_time_is_written_as_people_write_it(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2 hours", "30m2h", "-2h", "0m", "tomorrow", "2h\n2h"])
def test_what_is_no_time_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="write 30m, 2h or 1d12h"):
        seconds_of(text)


def test_longer_than_a_month_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 30d"):
        seconds_of("31d")


@pytest.mark.parametrize(("minutes", "before"), [(120, [15, 5]), (16, [15, 5]), (15, [5]), (6, [5]), (5, []), (1, [])])
def test_a_short_time_is_announced_less_often(minutes: int, before: list[int]) -> None:
    box = Box(NOW + minutes * 60, NOW)
    assert [(box.until - moment) // 60 for moment in box.announcements()] == before


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (2 * HOUR, "until 10:00 UTC"),
        (20 * HOUR, "until 2027-01-16 04:00 UTC"),
        (12 * 60, "until 08:12 UTC, in 12 minutes"),
        (40, "until 08:00 UTC, in 40 s"),
        (0, "its time was over at 08:00 UTC, it ends"),
    ],
)
def test_status_says_until_when(left: int, text: str) -> None:
    assert until(Box(NOW + left, NOW), NOW) == text


def test_people_are_told_what_ends_when_and_whom_to_ask() -> None:
    told = announcement("demo", "unicorn", Box(NOW + 900, NOW, "alice@laptop"), "the lab", NOW)
    for word in ("demo on unicorn ends in 15 minutes", "08:15 UTC", "farrier-release extend demo 1h", "Ask the lab."):
        assert word in told
    assert "Ask alice@laptop." in farewell("demo", "unicorn", Box(NOW, NOW - 60, "alice@laptop"), "", NOW)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"since": 1}'])
def test_no_time_or_a_damaged_one_ends_nothing(layout: Layout, text: str | None) -> None:
    layout.home("demo").mkdir(parents=True)
    if text is not None:
        layout.box("demo").write_text(text)
    assert store.load(layout, "demo") is None


def test_a_time_of_a_newer_tool_is_read(layout: Layout) -> None:
    layout.home("demo").mkdir(parents=True)
    layout.box("demo").write_text('{"until": 7, "since": 1, "mood": "good"}')
    assert store.load(layout, "demo") == Box(7, 1)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)
