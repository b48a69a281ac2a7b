"""State and history on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from farrier_host.release import history, state
from farrier_host.release.history import Entry
from farrier_host.release.layout import Layout
from farrier_host.release.state import UNCONFIRMED, State
from farrier_host.release.verify import queue_steps


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def test_what_is_saved_is_loaded(layout: Layout) -> None:
    saved = state.save(layout, "knee", State(UNCONFIRMED, "2", "1", touched=("a", "b"), followers={"w": {"job": "7"}}))
    assert state.load(layout, "knee") == saved
    assert layout.state("knee").stat().st_mode & 0o777 == 0o600


def test_the_time_is_that_of_the_phase_not_of_its_details(layout: Layout) -> None:
    first = state.save(layout, "knee", State(active="1"))
    layout.state("knee").write_text(layout.state("knee").read_text().replace(first.since, "2001-01-01 00:00:00 UTC"))
    again = state.save(layout, "knee", replace(state.load(layout, "knee"), proven=False))
    assert again.since == "2001-01-01 00:00:00 UTC"
    assert state.save(layout, "knee", replace(again, active="2")).since != again.since


def test_keys_of_a_newer_tool_are_left_out(layout: Layout) -> None:
    state.save(layout, "knee", State(active="1"))
    path = layout.state("knee")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"colour": "blue"}))
    assert state.load(layout, "knee").active == "1"


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_damaged_state_is_no_state(layout: Layout, text: str) -> None:
    layout.state("knee").parent.mkdir(parents=True)
    layout.state("knee").write_text(text)
    assert state.load(layout, "knee") == State()


def test_history_is_appended_and_a_cut_line_left_out(layout: Layout) -> None:
    history.note(layout, "knee", Entry("deploy", "1", "done", who="anna", reason="why", seconds=3.5))
    with layout.history("knee").open("a") as file:
        file.write('{"what": "dep')
    history.note(layout, "knee", Entry("rollback", "0", "done", who="bob"))
    entries = history.read(layout, "knee")
    assert [(entry.what, entry.who, entry.when[-3:]) for entry in entries] == [
        ("deploy", "anna", "UTC"),
        ("rollback", "bob", "UTC"),
    ]


def step(method: str, **until: str) -> dict[str, object]:
    return {"method": method, "until": until}


def test_as_far_as_the_queue_no_step_waits_and_what_was_made_is_deleted() -> None:
    post, wait, get, delete = step("POST"), step("GET", status="complete"), step("GET"), step("DELETE")
    assert queue_steps([post, wait, get, delete]) == [post, get, delete]
    assert queue_steps([post, get]) == [post, get]
