"""What stands in docs/ is what the code says."""

from __future__ import annotations

from pathlib import Path

from farrier.kinds import KINDS
from farrier.reference import stack_reference

ROOT = Path(__file__).parents[3]


def test_the_reference_is_up_to_date() -> None:
    text = (ROOT / "docs" / "reference" / "stack.md").read_text()
    assert text == stack_reference(), "run `farrier reference`"


def test_the_reference_knows_every_kind() -> None:
    assert all(f"kind `{kind}`" in stack_reference() for kind in KINDS)
