"""The host that most tests begin with."""

from __future__ import annotations

import pytest

from farrier.nvidia.look import Look
from tests.unit.nvidia.machines import found


@pytest.fixture
def bare() -> Look:
    """A T4 in a Debian 12 that has no driver."""
    return found("one T4")
