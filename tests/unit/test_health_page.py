from __future__ import annotations

from pathlib import Path

from tests.e2e.health import table

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "health.md"


def test_the_page_has_the_lines_that_are_tested() -> None:
    assert f"\n{table()}\n" in PAGE.read_text(encoding="utf-8"), "copy the lines from tests.e2e.health.table()"
