"""The shape of the house: what must not grow into it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STACKS = sorted(path.parent.name for path in (ROOT / "stacks").glob("*/stack.yml"))


@pytest.mark.parametrize("folder", ["roles", "systemd", "plugins", "farrier", "host"])
def test_no_stack_is_named_where_all_are_served(folder: str) -> None:
    word = re.compile("|".join(STACKS), re.IGNORECASE)
    files = [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert files
    named = {
        f"{path.relative_to(ROOT)}:{number}"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if word.search(line)
    }
    assert not named
