"""What is wrong with the input, told so that a tired person can mend it: file, line, key and what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """One thing to mend. `file` is relative to the repository, `line` counts from 1 (0: the file as a whole)."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class InvalidInput(Exception):
    """Every problem found in the input, at once. `problems` is sorted by file and line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems))
        super().__init__(self.text())

    def text(self) -> str:
        """All problems, one a line, under a heading that counts them."""
        count = len(self.problems)
        heading = "1 problem, nothing was changed:" if count == 1 else f"{count} problems, nothing was changed:"
        return "\n".join([heading, *(f"  {problem}" for problem in self.problems)])


def nearest(word: str, known: Sequence[str]) -> str:
    """A hint that names the known word most like `word`, or all of them when none is near."""
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known here: {', '.join(sorted(known))}" if known else "none is declared"
