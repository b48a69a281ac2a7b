"""What of the cards is written on a host that has some for its stacks: which they are, and the watcher's unit."""

from __future__ import annotations

import json
from pathlib import Path

from farrier.plan.model import Plan

DECLARED = "/etc/farrier/gpus.json"
WATCHER = "farrier-gpus.service"


def gpu_files(root: Path, plan: Plan) -> dict[str, dict[str, str]]:
    """Content and mode by path; the unit's text is in the repository at `root`. Empty for a host without cards."""
    if not plan.gpus:
        return {}
    cards = json.dumps([card.model_dump(mode="json") for card in plan.gpus], indent=2) + "\n"
    unit = (root / "systemd" / f"{WATCHER}.j2").read_text(encoding="utf-8")
    texts = {DECLARED: cards, f"/etc/systemd/system/{WATCHER}": unit}
    return {path: {"content": text, "mode": "0644"} for path, text in texts.items()}
