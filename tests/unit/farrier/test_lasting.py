"""The time that a run gives its stacks, before anything is done."""

from __future__ import annotations

from typing import Any

import pytest

from farrier.lasting import lasting
from farrier.problems import InvalidInput


@pytest.mark.parametrize(("value", "expected"), [(None, ""), ("", ""), ("2h", "2h"), (" 1d12h ", "1d12h")])
def test_a_time_is_taken_and_none_is_for_ever(value: Any, expected: str) -> None:
    assert lasting(value, host="unicorn") == expected


@pytest.mark.parametrize(
    ("value", "word"), [("2x", "'2x' is no time"), (7200, "has no unit"), (True, "has no unit"), ("40d", "at most 30d")]
)
def test_a_bad_one_says_where_and_how_to_write_it(value: Any, word: str) -> None:
    with pytest.raises(InvalidInput, match=word) as refused:
        lasting(value, host="unicorn")
    assert "variables of unicorn: farrier_for: " in str(refused.value)


def test_nothing_of_a_production_host_ends_by_the_clock() -> None:
    with pytest.raises(InvalidInput, match="do not end by the clock"):
        lasting("2h", host="pegasus", is_production=True)
