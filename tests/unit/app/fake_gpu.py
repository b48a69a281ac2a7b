"""Cards that are not there, as farrier-gpus.service would tell of them: only their processes are real."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.core.gpu.state import STATE, since_boot

GIB = 1024**3
TOTAL = 16 * GIB
UNIT = "knee-worker@0.service"


def process(
    pid: int, memory: int, unit: str | None = None, name: str = "python", user: str = "alice"
) -> dict[str, Any]:
    """A process on a card; one of a unit is the knee's."""
    stack = "knee" if unit else None
    return {"pid": pid, "name": name, "user": user, "unit": unit, "stack": stack, "memory": memory}


def card(*processes: dict[str, Any], index: int = 0, total: int = TOTAL, **more: Any) -> dict[str, Any]:
    """A card with these processes."""
    used = sum(each["memory"] for each in processes)
    memory = {"total": total, "used": used, "free": total - used}
    return {
        "index": index,
        "pci": f"0000:3{index}:00.0",
        "model": "Tesla T4",
        "memory": memory,
        "processes": list(processes),
    } | more


def write_state(run: Path, *cards: dict[str, Any], age: float = 0.0, **more: Any) -> None:
    """What the service would have written so many seconds ago; folders of locks too."""
    for index in range(2):
        (run / f"card-{index}").mkdir(parents=True, exist_ok=True)
    part = run / f"{STATE}.part"
    part.write_text(json.dumps({"at": since_boot() - age, "cards": cards} | more))
    part.replace(run / STATE)


@dataclass
class Host:
    """One card, looked at each second as the service does, and foreign processes that hold memory on it."""

    run: Path
    foreign: dict[int, tuple[subprocess.Popen[bytes], int]] = field(default_factory=dict)
    _looking: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        """Look once: who has ended holds nothing."""
        with self._looking:
            alive = [process(pid, size) for pid, (each, size) in list(self.foreign.items()) if each.poll() is None]
            write_state(self.run, card(*alive))

    def come(self, memory: int) -> subprocess.Popen[bytes]:
        """A process of somebody else takes memory, and is seen at once; until it is killed."""
        stranger = subprocess.Popen(["sleep", "1000"])
        self.foreign[stranger.pid] = stranger, memory
        (self.run / "stranger").write_text(str(stranger.pid))
        self.look()  # a worker that starts now may be faster than the next look
        return stranger

    def leave(self) -> None:
        """All of them are killed."""
        for each, _ in self.foreign.values():
            each.kill()
            each.wait()

    def _look_on(self) -> None:
        while not self._stop.wait(1.0):
            self.look()

    @contextmanager
    def looked_at(self) -> Iterator[Host]:
        """With a thread that looks each second."""
        self.look()
        thread = threading.Thread(target=self._look_on)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()
            self.leave()
