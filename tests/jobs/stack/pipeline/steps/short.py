"""Takes a second, and gives back what came in."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

SECONDS = 1.0

if __name__ == "__main__":
    work = Path(sys.argv[1])
    config = json.loads((work / "_config.json").read_text())
    print("[PROGRESS] 50% waiting", flush=True)
    time.sleep(SECONDS)
    (Path(config["output"]) / "said.txt").write_text(Path(config["input"]).read_text())
    (work / "_step_result.json").write_text(json.dumps({"summary": {}}))
