"""What is written of the cards: on every host which they are, and where it has some, the watcher's unit."""

from __future__ import annotations

import json
from pathlib import Path

from farrier.plan.model import Plan

DECLARED = "/etc/farrier/gpus.json"
WATCHER = "farrier-gpus.service"


def declared(plan: Plan) -> dict[str, dict[str, str]]:
    """Content and mode by path. Also for a host without cards: a watcher of those it had ends by it."""
    cards = json.dumps([card.model_dump(mode="json") for card in plan.gpus], indent=2) + "\n"
    return {DECLARED: {"content": cards, "mode": "0644"}}


def gpu_files(root: Path, plan: Plan) -> dict[str, dict[str, str]]:
    """The same of the watcher's unit; its text is in the repository at `root`. Empty for a host without cards."""
    if not plan.gpus:
        return {}
    unit = (root / "systemd" / f"{WATCHER}.j2").read_text(encoding="utf-8")
    return {f"/etc/systemd/system/{WATCHER}": {"content": unit, "mode": "0644"}}
