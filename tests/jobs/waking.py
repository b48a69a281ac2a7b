"""Jobs that come just when their workers fall asleep, and workers that are stopped in between."""

from __future__ import annotations

import json
import random
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.jobs.audit import Expected, Told, audit
from tests.jobs.serving import WORKERS, JobsHost

CLIENTS = 2
ASLEEP = "sleeps until the next job"  # in the worker's journal
_WORKERS = WORKERS.split()
_STOPS = ("systemctl stop {}", "systemctl kill --signal=KILL {}", "systemctl restart {}")
_ENDS = ("done", "failed")
_PATIENCE = 120.0  # seconds for one job: longer than the reaper takes for a lost message


@dataclass
class Waking:
    """What came of it. `waits`: for each job the seconds until it began, and whether its worker started for it."""

    slept: int = 0
    stops: int = 0
    accepted: dict[str, str] = field(default_factory=dict)
    ends: dict[str, list[str]] = field(default_factory=dict)
    waits: list[tuple[float, bool]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        cold = [seconds for seconds, is_cold in self.waits if is_cold] or [0.0]
        times = f"p50 {statistics.median(cold):.1f} s, max {max(cold):.1f} s"
        return (
            f"{len(self.accepted)} jobs, {len(cold)} of them woke a worker; workers slept {self.slept} times and were "
            f"stopped {self.stops} times; {len(self.wrong)} lost; cold start {times}"
        )


class Wakers:
    """Clients that submit a job each, wait for its end, and then about as long as a worker needs to fall asleep."""

    def __init__(self, jobs: JobsHost, *, idle: float, seed: int) -> None:
        self.jobs, self.idle, self.found = jobs, idle, Waking()
        self._random = random.Random(seed)
        self._enough = threading.Event()

    def run(self, wake_ups: int, *, pause: float) -> Waking:
        """Until workers have slept so often. `pause`: mean seconds between two stops; 0 for none."""
        after = self.jobs.watch()
        since = self.jobs.run("date +%s")
        with ThreadPoolExecutor(CLIENTS + 1) as pool:
            stopping = pool.submit(self._stop_now_and_then, pause)
            clients = [pool.submit(self._submit_until_enough) for _ in range(CLIENTS)]
            try:
                while self._slept(since) < wake_ups and not any(each.done() for each in clients):
                    time.sleep(1)
            finally:  # a test that runs out of its time would else wait for clients without end
                self._enough.set()
            for each in (*clients, stopping):
                each.result()
        self.jobs.wait_until_quiet(_PATIENCE)
        self.found.slept = self._slept(since)
        self.found.waits = [(seconds, is_cold) for seconds, is_cold in self.jobs.ask(f"waits {after}")]
        told = Told(self.found.accepted, self.found.ends)
        self.found.wrong = audit(self.jobs.found(after), told, Expected())
        return self.found

    def _slept(self, since: str) -> int:
        return int(self.jobs.run(f"journalctl --since=@{since} -u 'jobs-worker@*' --grep='{ASLEEP}' -o cat -q | wc -l"))

    def _submit_until_enough(self) -> None:
        with self.jobs.site.client() as client:
            while not self._enough.is_set():
                self._one(client)
                # A worker looks each second, and needs about two to end: many jobs come in just that time.
                self._enough.wait(self._random.uniform(0, self.idle + 3.5))

    def _one(self, client: httpx.Client) -> None:
        text = f"job {len(self.found.accepted)}"
        answer = client.post("/engine/submit/noop", content=text)
        assert answer.status_code == 200, answer.text
        job = answer.json()["job_id"]
        self.found.accepted[job] = ""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            said: dict[str, Any] = json.loads(client.get(f"/engine/status/{job}").text)
            if said["state"] in _ENDS:
                self.found.ends[job] = [said["state"]]
                return
            time.sleep(0.1)

    def _stop_now_and_then(self, pause: float) -> None:
        while pause and not self._enough.wait(self._random.uniform(0, 2 * pause)):
            self.jobs.run(self._random.choice(_STOPS).format(self._random.choice(_WORKERS)))
            self.found.stops += 1


def states(jobs: JobsHost) -> list[str]:
    """What farrier-release says of the workers."""
    units = {each["unit"]: each["state"] for each in jobs.site.statuses("jobs")["units"]}
    return [units[f"{worker}.service"] for worker in _WORKERS]


@contextmanager
def sleepy(jobs: JobsHost, idle: int) -> Iterator[None]:
    """Workers that sleep after so many seconds; at first they do."""
    more = ("[Unit]", "StartLimitIntervalSec=0")  # that of the stack file is for its own `idle`
    jobs.drop_in("jobs-worker@", "sleepy", f"Environment=FARRIER_IDLE={idle}", *more)
    jobs.run(f"systemctl daemon-reload && systemctl restart {WORKERS}")
    try:
        jobs.site.until(lambda: states(jobs) == ["asleep", "asleep"], "both workers sleep")
        yield
    finally:
        jobs.run("rm /etc/systemd/system/jobs-worker@.service.d/sleepy.conf && systemctl daemon-reload")
        jobs.run(f"systemctl restart {WORKERS}")
