"""Jobs on a card that others come to and leave: ledger, worker, steps and processes are real, only the card is fake."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.core import ear
from app.core.gpu.admission import HostCards
from app.core.gpu.decide import Need
from app.core.ledger import Database, Job, Jobs, NewJob, boot_clock, open_database
from app.core.pipelines import Pipeline
from app.core.storage import Storage, new_job_id
from app.core.work import MOST_DISPLACED, Workshop
from tests.unit.app import claimed as jobs
from tests.unit.app.fake_gpu import TOTAL, UNIT, Host
from tests.unit.app.running_site import Site, wait_for

MANY = 52
FOREIGN = TOTAL * 9 // 10
# Needs the whole card until `go` is there: as soon as somebody else lives who holds memory, it has none left.
STEP = """
while :; do
    if [ -e RUN/stranger ] && kill -0 "$(cat RUN/stranger)" 2>/dev/null; then
        echo "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB." >&2
        exit 1
    fi
    echo x >> RUN/begun
    [ -e RUN/go ] && exit 0
    sleep 0.1
done
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "gpu")
    with made.looked_at():
        yield made


@pytest.fixture
def pipeline(tmp_path: Path) -> dict[str, Any]:
    """One step in sh, because fifty starts of Python would take longer than all that is tested."""
    script = tmp_path / "step.sh"
    script.write_text(STEP.replace("RUN", str(tmp_path / "gpu")))
    steps = [{"name": "use", "timeout": 60, "command": [str(script)]}]
    return {"title": "Use the card", "python": "/bin/sh", "code": str(tmp_path), "steps": steps}


@pytest.fixture
def workshop(tmp_path: Path, database: Database, pipeline: dict[str, Any], host: Host) -> Workshop:
    pipelines = {"knee": Pipeline.model_validate(pipeline)}
    cards = HostCards(Need(UNIT, (0,), None), host.run)
    return Workshop(Jobs(database, boot_clock()), Storage(tmp_path / "state"), pipelines, 6.0, cards)


def claimed(workshop: Workshop) -> Job:
    if not workshop.jobs.has_queued(["knee"]):
        jobs.submit(workshop)
    return jobs.claim(workshop)


def hit(workshop: Workshop, host: Host, job: Job) -> None:
    """Work on the job, and let somebody take the card as soon as its step has begun."""
    begun = host.run / "begun"
    begun.unlink(missing_ok=True)
    thread = threading.Thread(target=workshop.work, args=[job])
    thread.start()
    wait_for(begun.exists, "a step that uses the card")
    host.come(FOREIGN)
    thread.join()
    host.leave()


def test_job_that_was_hit_in_mid_flight_goes_back_at_no_cost(workshop: Workshop, host: Host) -> None:
    workshop = replace(workshop, jobs=Jobs(workshop.jobs._database, boot_clock(), max_attempts=2))
    job = claimed(workshop)
    hit(workshop, host, job)
    waits = jobs.found(workshop, job)
    assert (waits.state, waits.error_code, waits.progress) == ("queued", None, 0)
    assert [each.id for each in workshop.jobs.unsent(lambda _: 60.0)] == [job.id]
    assert workshop.storage.input(job.id) is not None
    assert not (workshop.storage.root / "work" / job.id).exists()
    for number in (2, 3):  # its worker dies in both: these are the attempts that count
        again = claimed(workshop)
        assert (again.id, again.attempt) == (job.id, number)
        assert workshop.jobs.take_back(again)
        assert jobs.found(workshop, job).state == ("queued" if number == 2 else "failed")
    assert "The worker died 2 times" in (jobs.found(workshop, job).error_message or "")
    outcomes = [(each.outcome, each.error_code) for each in workshop.jobs.attempts(job.id)]
    assert outcomes == [("displaced", "GPU_OOM"), ("lost", None), ("lost", "PIPELINE_ERROR")]


def test_job_is_sent_back_a_few_times_only(workshop: Workshop, host: Host) -> None:
    job = claimed(workshop)
    for _ in range(MOST_DISPLACED):
        assert workshop.jobs.displace(job)
        job = claimed(workshop)
    hit(workshop, host, job)
    failed = jobs.found(workshop, job)
    assert (failed.state, failed.error_code) == ("failed", "GPU_OOM")
    told = failed.error_message or ""
    assert (
        f"Others took the memory of its card in {MOST_DISPLACED + 1} attempts; in the last one: GPU 0: 14 GB held"
        in told
    )
    assert workshop.storage.input(job.id) is None


def test_job_that_is_too_large_for_a_card_of_its_own_ends_as_gpu_oom(workshop: Workshop, host: Host) -> None:
    own = host.come(0)  # the step sees it as a reason to fail, and nobody holds anything
    job = claimed(workshop)
    workshop.work(job)
    own.kill()
    assert (jobs.found(workshop, job).state, jobs.found(workshop, job).error_code) == ("failed", "GPU_OOM")


def test_cancelled_job_does_not_go_back(workshop: Workshop, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    job = claimed(workshop)
    displace = Jobs.displace

    def late(jobs: Jobs, job: Job) -> bool:
        assert jobs.cancel(job.id)
        return displace(jobs, job)

    monkeypatch.setattr(Jobs, "displace", late)
    hit(workshop, host, job)
    assert jobs.found(workshop, job).state == "cancelled"


# ---- a whole site ---------------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(site: Site) -> Jobs:
    return Jobs(open_database(Path(site.environment["FARRIER_STATE"]) / "ledger"), boot_clock())


def start_worker(site: Site, host: Host) -> None:
    site.start_worker(FARRIER_GPU_CARDS="0", FARRIER_GPU_RUN=str(host.run))


def submit(site: Site, ledger: Jobs, count: int) -> list[str]:
    """Jobs as uploads make them, without the time that uploads take."""
    storage, ids = Storage(site.folder / "state"), []
    for _ in range(count):
        ids.append(new_job_id())
        storage.begin_upload(ids[-1]).write_bytes(b"scan")
        storage.accept_upload(ids[-1], ".nii")
        ledger.submit(NewJob(ids[-1], "knee", "knee", "scan.nii", {}))
    return ids


def waits(site: Site, job_id: str, stranger: subprocess.Popen[bytes]) -> None:
    told = f"waiting for GPU 0: 14 GB held by python (PID {stranger.pid}, alice, no unit of ours)"
    wait_for(lambda: str(site.status(job_id).get("message")).startswith(told), told)


def states(ledger: Jobs, ids: list[str]) -> Counter[str]:
    return Counter(f"{job.state} {job.error_code or ''}".strip() for each in ids if (job := ledger.find(each)))


def began(ledger: Jobs, ids: list[str], after: float) -> float | None:
    """When the first attempt after that time began."""
    times = [each.began_wall for job_id in ids for each in ledger.attempts(job_id) if each.began_wall > after]
    return min(times, default=None)


def leaves(host: Host, ledger: Jobs, ids: list[str]) -> float:
    """The seconds from the end of the foreign process to the beginning of the next attempt."""
    left = time.time()
    host.leave()
    first = wait_for(lambda: began(ledger, ids, left), "a job that begins once the card is free")
    return float(first) - left


def test_foreign_process_on_the_card_makes_jobs_wait_and_none_fail(site: Site, host: Host, ledger: Jobs) -> None:
    stranger, go = host.come(FOREIGN), host.run / "go"
    go.touch()
    start_worker(site, host)
    ids = submit(site, ledger, MANY)
    waits(site, ids[0], stranger)
    assert site.get("/health/ready").json()["checks"]["worker:knee"] == "ok"
    assert states(ledger, ids) == {"queued": MANY}
    waited = [leaves(host, ledger, ids)]
    wait_for(lambda: states(ledger, ids)["done"] > 3, "some jobs")
    go.unlink()
    (host.run / "begun").unlink()
    wait_for((host.run / "begun").exists, "a job in mid-flight")
    stranger = host.come(FOREIGN)
    waits(site, ids[-1], stranger)
    go.touch()
    waited.append(leaves(host, ledger, ids))
    wait_for(lambda: states(ledger, ids) == {"done": MANY}, f"{MANY} done jobs", 90)
    outcomes = Counter(each.outcome for job_id in ids for each in ledger.attempts(job_id))
    print(
        f"{MANY} jobs: {dict(outcomes)}; began {', '.join(f'{each:.1f} s' for each in waited)} after the card was free"
    )
    assert outcomes == {"done": MANY, "displaced": 1}
    assert max(waited) < 15  # 2 s on an idle machine
    assert site.stop("worker") == 0


def test_worker_that_waits_for_a_card_ends_at_once_when_told_to(site: Site, host: Host, ledger: Jobs) -> None:
    stranger = host.come(FOREIGN)
    start_worker(site, host)
    (job,) = submit(site, ledger, 1)
    waits(site, job, stranger)
    assert site.stop("worker") == 0
    left = ledger.find(job)
    assert left is not None
    assert (left.state, left.attempt, ledger.waits_for("knee")) == ("queued", 0, None)


@pytest.mark.slow
def test_worker_that_waits_for_a_card_is_not_taken_for_deaf(site: Site, host: Host, ledger: Jobs) -> None:
    stranger = host.come(FOREIGN)
    start_worker(site, host)
    (job,) = submit(site, ledger, 1)
    waits(site, job, stranger)
    until = time.monotonic() + ear.PATIENCE + 10
    wait_for(lambda: time.monotonic() > until, "the time after which a deaf worker is replaced", ear.PATIENCE + 20)
    assert "nothing wakes this worker" not in (site.folder / "worker.log").read_text()
    waits(site, job, stranger)
    (host.run / "go").touch()
    host.leave()
    site.wait_status(job, "complete")
