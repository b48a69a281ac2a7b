"""docs/reliability.md: what was promised and what the last full `make faults` observed."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable
from pathlib import Path

from tests.harness import Observation

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
_BEGIN, _END = "<!-- begin: written by `make faults` -->", "<!-- end: written by `make faults` -->"


def write(rows: Iterable[Observation], page: Path = PAGE) -> None:
    """Put the table between the page's marks; what people wrote around it stays."""
    before, rest = page.read_text(encoding="utf-8").split(_BEGIN)
    after = rest.split(_END)[1]
    page.write_text(f"{before}{_BEGIN}\n{_measured()}\n\n{table(rows)}\n{_END}{after}", encoding="utf-8")


def table(rows: Iterable[Observation]) -> str:
    """Markdown, a row for each observation."""
    cells = [(row.fault, row.promise, row.observed, "yes" if row.ok else "**no**") for row in rows]
    lines = [("Fault", "Promise", "Observed", "Kept"), ("---",) * 4, *cells]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _measured() -> str:
    today = dt.datetime.now(tz=dt.UTC).date()
    wanting = os.getloadavg()[2]
    return f"Measured {today} on {os.cpu_count()} CPUs, which {wanting:.1f} processes wanted at the same time."
