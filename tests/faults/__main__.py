from __future__ import annotations

import sys

from tests.harness import run

sys.exit(run("faults"))
