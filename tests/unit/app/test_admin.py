"""`<stack>-admin` and /metrics: what an administrator is told of a ledger, and what can be done."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from app.core.admin.__main__ import main
from app.core.admin.table import lasted
from app.core.ledger import Job, NewJob
from app.core.service import Service, open_service
from app.knee.web import create_app
from tests.unit.app.places import REPOSITORY
from tests.unit.app.running_site import knee_pipeline, site_environment

TOKEN = "a token of forty characters or a few more"
METRICS = {"X-Forwarded-For": "192.0.2.1"}


@dataclass
class Ended:
    """One run of the command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    values = site_environment(tmp_path, knee_pipeline())
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


@pytest.fixture
def service(environment: dict[str, str]) -> Service:
    return open_service(environment)


class Ledger:
    """Makes jobs in every state, and runs the command on them."""

    def __init__(self, service: Service, capsys: pytest.CaptureFixture[str]) -> None:
        self.service, self._capsys = service, capsys

    def submit(self, number: int, *, verify: bool = False, **more: Any) -> Job:
        job_id = f"{number:032x}"
        self.service.storage.begin_upload(job_id).write_bytes(b"a scan")
        self.service.storage.accept_upload(job_id, ".nii.gz")
        new = NewJob(job_id, "knee", "knee", "scan.nii.gz", {"smoothing": 1}, verify=verify, **more)
        return self.service.jobs.submit(new)

    def claim(self) -> Job:
        job = self.service.jobs.claim_next(["knee"], "worker@0 1 2", 30)
        assert job
        return job

    def fail(self, number: int, code: str = "GPU_OOM") -> Job:
        self.submit(number)
        job = self.claim()
        self.service.jobs.begin_step(job, number=1, steps=2, name="segment")
        self.service.jobs.end_step(job, number=1, outcome="failed", duration=1.5)
        self.service.jobs.fail(job, code=code, message="The GPU has too little memory.")
        return job

    def done(self, number: int, *, verify: bool = False) -> Job:
        self.submit(number, verify=verify)
        job = self.claim()
        assert self.service.jobs.publish(job, size=1, summary={})
        return job

    def admin(self, *arguments: str) -> Ended:
        self._capsys.readouterr()
        try:
            code = main(arguments)
        except SystemExit as error:
            code = int(error.code or 0)
        said = self._capsys.readouterr()
        return Ended(code, said.out, said.err)


@pytest.fixture
def ledger(service: Service, capsys: pytest.CaptureFixture[str]) -> Ledger:
    return Ledger(service, capsys)


def test_jobs_are_listed_newest_first_and_those_done_only_when_asked_for(ledger: Ledger) -> None:
    ledger.done(1)
    ledger.fail(2)
    ledger.submit(3)
    shown = ledger.admin("jobs").out.splitlines()
    assert [line.split()[0][-1] for line in shown[1:]] == ["3", "2"]
    assert shown[1].endswith("number 1")
    assert shown[2].endswith("GPU_OOM")
    assert [each["id"][-1] for each in ledger.admin("jobs", "--all", "--json").json] == ["3", "2", "1"]
    assert [each["state"] for each in ledger.admin("jobs", "--state", "done", "--json").json] == ["done"]
    assert len(ledger.admin("jobs", "--all", "--limit", "1", "--json").json) == 1


def test_nobodys_address_is_shown(ledger: Ledger) -> None:
    ledger.submit(1, email="somebody@example.org", client="hash of an address")
    for shown in (
        ledger.admin("jobs", "--json"),
        ledger.admin("show", f"{1:032x}", "--json"),
        ledger.admin("show", "0"),
    ):
        assert "somebody" not in shown.out
        assert "hash of" not in shown.out


def test_one_job_is_shown_with_attempts_steps_and_the_end_of_its_log(ledger: Ledger) -> None:
    job = ledger.fail(0xABC)
    ledger.service.storage.log(job.id).write_text("".join(f"line {number}\n" for number in range(100)))
    shown = ledger.admin("show", job.id, "--log", "3").out
    assert "GPU_OOM: The GPU has too little memory." in shown
    assert "kept, 6 B" in shown
    assert "segment" in shown
    assert shown.splitlines()[-3:] == ["  line 97", "  line 98", "  line 99"]
    told = ledger.admin("show", job.id, "--json").json
    assert [each["outcome"] for each in told["attempts"]] == ["failed"]
    assert [(each["name"], each["outcome"], each["duration"]) for each in told["steps"]] == [("segment", "failed", 1.5)]
    assert told["log"][-1] == "line 99"


def test_a_job_is_found_by_what_tells_it_apart(ledger: Ledger) -> None:
    for number in (0xA1 << 120, 0xA2 << 120):
        ledger.submit(number)
    assert ledger.admin("show", "a1").code == 0
    both, none = ledger.admin("show", "a"), ledger.admin("show", "ffff")
    assert (both.code, none.code) == (3, 3)
    assert "several jobs begin with a: a1" in both.err
    assert none.err == "knee-admin: there is no job ffff\n"
    assert ledger.admin("show", "%").code == 3, "no pattern of the database's is one of ours"


def test_a_waiting_job_is_cancelled_and_an_ended_one_is_not(ledger: Ledger) -> None:
    job = ledger.submit(1)
    assert ledger.admin("cancel", job.id).out == f"{job.id}: cancelled\n"
    again = ledger.admin("cancel", job.id)
    assert (again.code, again.err) == (1, f"{job.id}: it has ended already: cancelled\n")


def test_of_a_running_job_the_worker_is_asked(ledger: Ledger) -> None:
    ledger.submit(1)
    job = ledger.claim()
    assert ledger.admin("cancel", job.id).out.endswith("its worker ends it within seconds\n")
    assert "is being cancelled" in ledger.admin("jobs").out


def test_a_failed_job_is_submitted_again_with_its_original_and_options(ledger: Ledger) -> None:
    job = ledger.fail(1)
    told = ledger.admin("retry", job.id, "--json").json[job.id]
    assert told["done"]
    fresh = ledger.service.jobs.find(told["said"].split()[-1])
    assert fresh
    assert (fresh.state, fresh.options, fresh.attempt) == ("queued", {"smoothing": 1}, 0)
    source = ledger.service.storage.input(fresh.id)
    assert source
    assert (source.name, source.read_bytes()) == ("input.nii.gz", b"a scan")
    ledger.service.storage.drop(job.id)
    assert source.read_bytes() == b"a scan"


def test_what_cannot_be_submitted_again_is_refused_with_the_reason(ledger: Ledger) -> None:
    gone, done, proof = ledger.fail(1), ledger.done(2), ledger.done(3, verify=True)
    waits = ledger.submit(4)
    ledger.service.storage.drop(gone.id)
    expected = {
        gone.id: "its original was deleted; the user has to submit it again",
        done.id: "it is done; its user can download the result",
        proof.id: "it is a deploy's own job; `farrier-release verify` sends another one",
        waits.id: "it waits still",
    }
    ended = ledger.admin("retry", *expected)
    assert ended.code == 1
    assert ended.err.splitlines() == [f"{job}: {why}" for job, why in expected.items()]
    assert len(ledger.admin("jobs", "--all", "--json").json) == 4


def test_nothing_is_touched_where_one_of_several_names_is_wrong(ledger: Ledger) -> None:
    job = ledger.submit(1)
    assert ledger.admin("cancel", job.id, "nonsense").code == 3
    found = ledger.service.jobs.find(job.id)
    assert found
    assert found.state == "queued"


def test_figures_leave_the_deploys_own_jobs_out(ledger: Ledger) -> None:
    ledger.done(1)
    ledger.done(2, verify=True)
    for number in (3, 4):
        ledger.fail(number, "TIMEOUT")
    ledger.submit(5)
    told = ledger.admin("stats", "--json").json
    knee = told["queues"]["knee"]
    assert knee["jobs"] == {"queued": 1, "running": 0, "done": 1, "failed": 2, "cancelled": 0}
    assert (knee["failures"], knee["workers"]) == ({"TIMEOUT": 2}, 0)
    assert told["disk_free_bytes"] > 0
    assert "knee: 2 × TIMEOUT" in ledger.admin("stats").out


def test_help_names_every_command_and_wrong_usage_is_2(ledger: Ledger) -> None:
    shown = ledger.admin("--help")
    assert shown.code == 0
    assert all(word in shown.out for word in ("jobs", "show", "cancel", "retry", "stats", "exit codes", "knee-admin"))
    assert ledger.admin("jobs", "--limit", "many").code == 2


def test_a_wrong_environment_is_told_in_one_line(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FARRIER_STATE")
    ended = ledger.admin("jobs")
    assert (ended.code, ended.err) == (1, "knee-admin: FARRIER_STATE is not set\n")


@pytest.mark.parametrize(("more", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_terminals(
    ledger: Ledger, environment: dict[str, str], more: dict[str, str], is_coloured: bool
) -> None:
    ledger.fail(1)
    command = [sys.executable, "-m", "app.core.admin", "jobs"]
    base = {"PATH": os.environ["PATH"], "TERM": "xterm"} | environment | more
    piped = subprocess.run(command, env=base, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    assert "\x1b" not in piped
    master, slave = pty.openpty()
    subprocess.run(command, env=base, cwd=REPOSITORY, check=True, stdout=slave)
    os.close(slave)
    shown = os.read(master, 65536).decode()
    os.close(master)
    assert ("\x1b[31mfailed" in shown) is is_coloured


def test_durations_read_well() -> None:
    assert [lasted(each) for each in (None, 0.42, 12.4, 200.2, 7500)] == [
        "-",
        "0.4 s",
        "12 s",
        "3 min 20 s",
        "2 h 5 min",
    ]


# ---- /metrics ------------------------------------------------------------------------------------------------------


def scrape(text: str) -> dict[tuple[str, str], float]:
    """Every sample by its name and what tells it from others of that name."""
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    telling = ("state", "code", "outcome", "le")
    return {(each.name, "".join(each.labels.get(label, "") for label in telling)): each.value for each in samples}


def test_metrics_are_the_ledgers_numbers(ledger: Ledger, service: Service) -> None:
    ledger.done(1)
    ledger.done(2, verify=True)
    ledger.fail(3, "TIMEOUT")
    ledger.submit(4)
    service.workers.beat("worker@0", ["knee"], 60)
    found = scrape(TestClient(create_app()).get("/metrics").text)
    assert found["farrier_jobs", "queued"] == 1
    assert found["farrier_jobs", "running"] == 0, "a series that is not there cannot raise an alarm"
    assert found["farrier_job_failures_total", "TIMEOUT"] == 1
    assert (found["farrier_attempts_total", "done"], found["farrier_attempts_total", "failed"]) == (1, 1)
    assert found["farrier_job_duration_seconds_count", ""] == 1
    assert found["farrier_job_duration_seconds_bucket", "+Inf"] == 1
    assert found["farrier_workers_alive", ""] == 1
    assert found["farrier_disk_free_bytes", ""] > 0
    assert 0 <= found["farrier_oldest_queued_seconds", ""] < 60


def test_every_web_process_says_the_same(ledger: Ledger) -> None:
    one, other = TestClient(create_app()), TestClient(create_app())
    ledger.fail(1)
    same = [line for line in one.get("/metrics").text.splitlines() if "disk_free" not in line and "oldest" not in line]
    assert all(line in other.get("/metrics").text for line in same)


def test_through_the_front_door_there_are_no_metrics_without_a_token(environment: dict[str, str]) -> None:
    client = TestClient(create_app())
    assert client.get("/metrics").status_code == 200
    assert client.get("/metrics", headers=METRICS).status_code == 404
    assert client.get("/metrics", headers=METRICS | {"Authorization": "Bearer None"}).status_code == 404
    (Path(environment["CREDENTIALS_DIRECTORY"]) / "metrics-token").write_text(TOKEN)
    client = TestClient(create_app())
    assert client.get("/metrics", headers=METRICS).status_code == 401
    assert client.get("/metrics", headers=METRICS | {"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/metrics", headers=METRICS | {"Authorization": f"Bearer {TOKEN}"}).status_code == 200
