"""A worker that is let go is not started again; nothing of that is left when it has ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from farrier_host.release import systemd
from farrier_host.release.layout import Layout
from farrier_host.release.systemd import Seen
from farrier_host.release.workers import Workers

UNIT = "a-worker@1.service"


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workers:
    seen = Seen("active", "running", "", "disabled", "1", "job 4711", 0, None, None, 7)
    bell = Seen("inactive", "dead", "", "", "", "", 0, None, None)
    monkeypatch.setattr(systemd, "look", lambda units: {unit: seen if unit == UNIT else bell for unit in units})
    for name in ("run", "ask_to_end", "forget_starts"):
        monkeypatch.setattr(systemd, name, lambda *_: None)
    return Workers(Layout(tmp_path), print)


def test_it_is_not_started_again(workers: Workers) -> None:
    assert workers.let_go([UNIT])[UNIT]["job"] == "4711"
    text = next(workers.layout.passing_units.glob(f"{UNIT}.d/*.conf")).read_text()
    assert "Restart=no" in text


def test_nothing_is_left_when_it_has_ended(workers: Workers) -> None:
    workers.let_go([UNIT])
    workers.want([UNIT])
    assert list(workers.layout.passing_units.iterdir()) == []


def test_an_administrators_drop_in_stays(workers: Workers) -> None:
    workers.let_go([UNIT])
    own = workers.layout.passing_units / f"{UNIT}.d" / "own.conf"
    own.write_text("[Service]\n")
    workers.want([UNIT])
    assert own.exists()
