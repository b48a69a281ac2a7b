"""What the tasks of the role `nvidia` hand over, as the objects that decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from farrier.nvidia import files
from farrier.nvidia.choose import asked
from farrier.nvidia.decide import Decision, Next, afterwards, decide, with_remedy
from farrier.nvidia.look import Look, System
from farrier.nvidia.settings import Settings

_KEY = "3bf863cc.pub"  # EB69 3B30 35CD 5710 E231 E123 A4B4 6996 3BF8 63CC


class Task:
    """One task's arguments: `state` (the probe's), `settings`, and `gpus`, the cards that the plan gives away.

    `gpu`: a later look than the state's.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.look = Look.model_validate(given.get("gpu") or given["state"]["gpu"])
        self.system = System.model_validate(given["state"]["os"])
        self.settings = Settings.model_validate(given["settings"])
        self.decision: Decision = decide(self.look, self.system, self.settings, declared=bool(given["gpus"]))

    def left(self) -> Next:
        """What is to be done when the driver is installed; nothing on a host that is left alone."""
        driving, driver = self.decision.driving, self.look.driver
        if driving is None or driver is None:
            return Next()
        return with_remedy(afterwards(driver, driving.provider), allowed=self.settings.reboot == "auto")

    def decided(self) -> dict[str, Any]:
        """The decision for the next tasks: files by path, names for apt.

        `ready`: nothing at all is to be done about the driver.
        """
        driving, driver = self.decision.driving, self.look.driver
        if driving is None or driver is None:
            return {"install": False, "ready": True}
        texts = {
            files.SOURCES: files.sources(driving.provider, self.system, driver.indexes, driver.sources),
            files.UNATTENDED: files.unattended(driving.provider),
            files.PERSISTENCE: files.persistence(),
        }
        return {
            "install": self.decision.install,
            "ready": not self.decision.install and not self.left().say and driver.persistent,
            "apt_files": {path: {"content": text, "mode": "0644"} for path, text in texts.items() if text},
            "ask": list(asked(driving, driver)),
            "hold": list(driving.hold),
            "key": f"{files.repository(self.system)}{_KEY}" if driving.provider == "nvidia_repo" else "",
        }
