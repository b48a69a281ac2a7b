"""The page of faults: the table between its marks is replaced, what people wrote stays."""

from __future__ import annotations

from pathlib import Path

from tests import reliability
from tests.harness import Observation
from tests.load.record import Request, figures


def test_the_table_is_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    page = tmp_path / "reliability.md"
    page.write_text(reliability.PAGE.read_text())
    before, after = page.read_text().split("<!-- begin")[0], page.read_text().split("<!-- end")[1]
    for observed in ("sent 1, failed 0", "sent 2 | failed 1"):
        reliability.write([Observation("kill -9", "nothing fails", observed, ok=observed.startswith("sent 1"))], page)
    text = page.read_text()
    assert text.startswith(before)
    assert text.endswith(after)
    assert "| kill -9 | nothing fails | sent 2 \\| failed 1 | **no** |" in text
    assert "sent 1" not in text.split("<!-- begin")[1]


def test_figures_count_what_failed_and_take_the_slowest_of_the_quick_kinds() -> None:
    requests = [Request("short", 0, 0.2), Request("short", 0, 0.3, "502"), Request("upload", 0, 10)]
    assert str(figures(requests)) == "sent 3, failed 1, slowest 0.30 s"
    assert figures(requests, ["upload"]).failed == 0
