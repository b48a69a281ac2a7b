"""Nobody waits without a sign of life."""

from __future__ import annotations

import threading

import pytest

from farrier.heartbeat import heartbeat


def test_it_speaks_while_the_work_goes_on_and_ends_with_it() -> None:
    before = threading.active_count()
    said: list[str] = []
    twice = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 2:
            twice.set()

    with heartbeat(say, "building", every=0.01):
        assert twice.wait(10)
    assert said[0].startswith("  … building, 0 s so far")
    assert threading.active_count() == before


def test_a_fault_in_the_work_comes_through() -> None:
    with pytest.raises(ValueError, match="broken"), heartbeat(print, "building"):
        raise ValueError("broken")
