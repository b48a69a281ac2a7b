"""What the tasks of the role `nvidia` hand over, as the objects that decide."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from farrier.nvidia import files
from farrier.nvidia.choose import asked
from farrier.nvidia.decide import Decision, decide
from farrier.nvidia.look import Look, System
from farrier.nvidia.settings import Settings

DECLARED = "/etc/farrier/gpus.json"


class Task:
    """One task's arguments: `state` (the probe's), `settings`, and `gpus`, the cards that the plan gives away."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.look = Look.model_validate(given.get("gpu") or given["state"]["gpu"])
        self.system = System.model_validate(given["state"]["os"])
        self.settings = Settings.model_validate(given["settings"])
        self.gpus: list[dict[str, Any]] = given["gpus"]
        self.decision: Decision = decide(self.look, self.system, self.settings, declared=bool(self.gpus))

    def decided(self) -> dict[str, Any]:
        """The decision for the next tasks: files by path, names for apt."""
        found: dict[str, Any] = {"install": self.decision.install, "files": self._files(), "apt_files": {}, "ask": []}
        driving, driver = self.decision.driving, self.look.driver
        if driving is None or driver is None:
            return found | {"provider": "", "hold": [], "key": ""}
        texts = {
            files.SOURCES: files.sources(driving.provider, self.system, driver.indexes, driver.sources),
            files.UNATTENDED: files.unattended(driving.provider),
            files.PERSISTENCE: files.persistence(),
        }
        key = f"{files.repository(self.system)}3bf863cc.pub" if driving.provider == "nvidia_repo" else ""
        return found | {
            "apt_files": {path: _file(text) for path, text in texts.items() if text},
            "ask": list(asked(driving, driver)),
            "provider": driving.provider,
            "hold": list(driving.hold),
            "key": key,
        }

    def _files(self) -> dict[str, dict[str, str]]:
        return {DECLARED: _file(json.dumps(self.gpus, indent=2) + "\n")} if self.gpus else {}


def _file(text: str) -> dict[str, str]:
    return {"content": text, "mode": "0644"}
