"""The log of one job's steps, for the administrator: all that they print, up to a size."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

LARGEST = 8 * 1024 * 1024  # bytes: a step that prints without end must not fill the disk
LONGEST_LINE = 4000  # characters


class JobLog:
    """Appends lines to the job's log file; once that is full it says so and takes no more."""

    def __init__(self, path: Path, largest: int = LARGEST) -> None:
        self._file = path.open("a", encoding="utf-8", errors="replace")
        self._left = largest - self._file.tell()
        self._full = self._left <= 0

    def write(self, line: str) -> None:
        """Append a line of the step."""
        self._left -= len(line.encode()) + 1
        if self._left > 0:
            self._put(line)
        elif not self._full:
            self._full = True
            self._put("=== the log is full; what the steps print from here on is not kept")

    def mark(self, text: str) -> None:
        """Append a line of our own, with the time; also to a full log."""
        self._put(f"=== {dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ} {text}")

    def _put(self, line: str) -> None:
        self._file.write(line + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
