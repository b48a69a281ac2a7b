"""Nobody notices a release: the quick part of tests/faults/load.py, which has every case and how long requests take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.site import Site
from tests.faults.load import changed_code
from tests.load.record import by_kind
from tests.load.serving import Run, serving, storm, under_load


@pytest.fixture(scope="module")
def loaded(prepared: None) -> Iterator[tuple[Site, Path]]:
    """A host of its own, with nothing else that would want its CPUs."""
    del prepared
    with serving(f"{os.environ.get('FARRIER_TEST_HOST', 'test-pegasus')}-load") as served:
        yield served


def test_a_release_with_changed_code_fails_no_request(loaded: tuple[Site, Path]) -> None:
    with under_load(loaded[0]) as run:
        changed_code(*loaded)
    assert_none_failed(run, at_least=2000)


def test_posts_that_begin_while_a_process_ends_are_served(loaded: tuple[Site, Path]) -> None:
    assert_none_failed(storm(loaded[0], 5, by_release=True), at_least=1000)


def assert_none_failed(run: Run, at_least: int) -> None:
    """Every request had its whole, right answer."""
    assert [each for each in run.requests if each.error] == []
    assert len(run.requests) >= at_least, by_kind(run.requests)
