"""python -m tests.faults [MODULE…]: all faults, or those of some modules; all of them rewrite docs/reliability.md."""

from __future__ import annotations

import sys

from tests import reliability
from tests.harness import run

sys.exit(run("faults", sys.argv[1:], reliability.write))
