"""A whole site of real processes, and what it does when some of them go away."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.core.ledger import Workers, boot_clock, open_database
from app.core.worker import HOPELESS
from tests.unit.app.running_site import TOKEN, Site, holding_pipeline, is_running, wait_for


@pytest.fixture
def pipeline(tmp_path: Path) -> dict[str, Any]:
    return holding_pipeline(tmp_path)


def _children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
    return [int(line) for line in found.split()]


def _pool_process(site: Site) -> int:
    """The worker's child that works on jobs (the other child only tracks semaphores)."""
    for pid in _children(site.processes["worker"].pid):
        if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    raise AssertionError("the worker has no pool process")


def _starts(site: Site) -> list[int]:
    path = site.folder / "starts"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def _release(site: Site) -> None:
    (site.folder / "go").touch()


def test_job_of_a_killed_worker_process_is_done_after_all(site: Site) -> None:
    site.start_worker()
    job = site.upload()
    first = wait_for(lambda: _starts(site), "the step's start")[0]
    os.kill(_pool_process(site), signal.SIGKILL)
    again = wait_for(lambda: _starts(site)[1:], "the step's second start")
    assert not is_running(first)
    _release(site)
    assert site.wait_status(job, "complete")["summary"] == {"held": True}
    assert len(_starts(site)) == 2, again


def test_job_of_a_killed_worker_runs_again_once_a_worker_is_there(site: Site) -> None:
    site.start_worker()
    job = site.upload()
    wait_for(lambda: _starts(site), "the step's start")
    os.killpg(site.processes["worker"].pid, signal.SIGKILL)
    site.processes.pop("worker").wait()
    site.start_worker()
    wait_for(lambda: _starts(site)[1:], "the step's second start")
    _release(site)
    site.wait_status(job, "complete")


def test_cancelled_job_makes_room_for_the_next(site: Site) -> None:
    site.start_worker()
    job, following = site.upload(), site.upload()
    (first,) = wait_for(lambda: _starts(site), "the step's start")
    assert site.post(f"/cancel/{job}").json()["error_code"] == "CANCELLED"
    wait_for(lambda: not is_running(first), "the step's end")
    wait_for(lambda: _starts(site)[1:], "the next job's step")
    _release(site)
    site.wait_status(following, "complete")
    assert site.status(job)["error_code"] == "CANCELLED"


def test_upload_is_accepted_while_redis_is_away_and_done_once_it_is_back(site: Site) -> None:
    site.start_worker()
    running = site.upload()
    wait_for(lambda: _starts(site), "the step's start")
    site.stop("redis")
    waiting = site.upload()
    assert site.status(waiting)["queue_position"] == 1
    ready = site.get("/health/ready")
    assert (ready.status_code, ready.json()["missing"]) == (503, ["redis"])
    assert site.get("/health").json()["redis"] == "disconnected"
    assert site.get("/health/live").status_code == 200
    _release(site)
    site.wait_status(running, "complete")
    site.start_redis()
    site.wait_status(waiting, "complete")
    assert site.get("/health/ready").status_code == 200


def test_wiped_redis_forgets_no_job(site: Site) -> None:
    jobs = [site.upload() for _ in range(3)]
    site.stop("redis", signal.SIGKILL)
    shutil.rmtree(site.folder / "redis")
    site.start_redis()
    _release(site)
    site.start_worker()
    for job in jobs:
        site.wait_status(job, "complete")


def test_stopping_the_worker_ends_its_job_first_and_takes_no_other(site: Site) -> None:
    site.start_worker()
    first, second = site.upload(), site.upload()
    wait_for(lambda: site.status(first)["status"] == "processing", "the first job's start")
    wait_for(lambda: _starts(site), "the step's start")
    site.processes["worker"].terminate()
    workers = Workers(open_database(Path(site.environment["FARRIER_STATE"]) / "ledger"), boot_clock())
    wait_for(lambda: workers.is_draining("worker@0"), "the worker to take no further job")
    _release(site)
    assert site.processes.pop("worker").wait(20) == 0
    assert site.status(first)["status"] == "complete"
    assert site.status(second)["status"] == "queued"
    # One that goes over to a release is back before its last sign of life has run out.
    assert site.get("/health/ready").status_code == 200
    wait_for(lambda: site.get("/health/ready").json()["missing"] == ["worker:knee"], "the worker to be missed")


def test_verify_jobs_go_first_and_can_be_deleted(site: Site) -> None:
    user = site.upload()
    verify = site.upload(headers={"x-farrier-verify": TOKEN})
    assert site.status(user)["queue_position"] == 1
    site.start_worker()
    wait_for(lambda: site.status(verify)["status"] == "processing", "the verify job's start")
    assert site.status(user)["status"] == "queued"
    _release(site)
    site.wait_status(verify, "complete")
    site.wait_status(user, "complete")
    with site.client() as client:
        assert client.delete(f"/jobs/{verify}", headers={"x-farrier-verify": "guessed"}).status_code == 403
        assert client.delete(f"/jobs/{verify}", headers={"x-farrier-verify": TOKEN}).status_code == 204
    assert site.get(f"/status/{verify}").status_code == 404
    assert list((site.folder / "state").glob(f"*/{verify}*")) == []


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """What a worker with NOTIFY_SOCKET tells."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify.sock"))
        listening.settimeout(20)
        yield listening


def told(systemd: socket.socket, last: bytes) -> list[bytes]:
    """Everything that systemd was told until that message."""
    messages = [systemd.recv(500)]
    while messages[-1] != last:
        messages.append(systemd.recv(500))
    return messages


def test_worker_tells_systemd_that_it_is_ready_and_lives_with_redis_and_without(
    site: Site, systemd: socket.socket
) -> None:
    site.stop("redis")  # its being away is no reason to try the start again and again
    site.start_worker(NOTIFY_SOCKET=systemd.getsockname())
    assert told(systemd, b"WATCHDOG=1") == [b"READY=1\nSTATUS=waits for Redis", b"WATCHDOG=1"]
    site.start_redis()
    told(systemd, b"STATUS=idle")
    site.stop("redis")
    assert {systemd.recv(500) for _ in range(8)} == {b"WATCHDOG=1", b"STATUS=idle"}


@pytest.mark.slow
def test_hung_consumer_is_told_to_systemd(site: Site, systemd: socket.socket) -> None:
    # Celery's own debugger holds the process that a signal hits.
    site.start_worker(NOTIFY_SOCKET=systemd.getsockname(), CELERY_RDBSIG="1")
    told(systemd, b"STATUS=idle")
    site.processes["worker"].send_signal(signal.SIGUSR2)
    told(systemd, b"WATCHDOG=trigger")
    systemd.settimeout(2.5)
    with pytest.raises(TimeoutError):
        told(systemd, b"WATCHDOG=1")


@pytest.mark.slow
def test_worker_that_lost_its_place_at_redis_hears_again_or_is_replaced(site: Site, systemd: socket.socket) -> None:
    site.start_worker(NOTIFY_SOCKET=systemd.getsockname())
    job = site.upload()
    wait_for(lambda: _starts(site), "the step's start")
    # It finds the end of its job and the end of Redis in the same turn of its loop, and kombu forgets to connect again.
    worker = site.processes["worker"]
    worker.send_signal(signal.SIGSTOP)
    _release(site)
    site.wait_status(job, "complete")
    site.stop("redis")
    worker.send_signal(signal.SIGCONT)
    wait_for(lambda: "Couldn't ack" in (site.folder / "worker.log").read_text(), "the failed acknowledgement")
    site.start_redis()
    waiting = site.upload()
    systemd.settimeout(5)
    wait_for(
        lambda: systemd.recv(500) == b"WATCHDOG=trigger" or site.status(waiting)["status"] == "complete",
        "the second job, or the end of the worker",
        45,
    )


def test_start_that_waiting_cannot_help_ends_with_its_reason(site: Site, systemd: socket.socket) -> None:
    (site.folder / "credentials" / "redis-password").unlink()
    site.start_worker(NOTIFY_SOCKET=systemd.getsockname())
    assert site.processes.pop("worker").wait(20) == HOPELESS
    reason = systemd.recv(500).decode()
    assert reason.startswith("STATUS=cannot start: credential")
    assert "redis-password" in reason


def test_worker_tells_systemd_which_job_it_works_on_and_ends_first(site: Site, systemd: socket.socket) -> None:
    site.start_worker(NOTIFY_SOCKET=systemd.getsockname())
    job = site.upload()
    told(systemd, f"STATUS=job {job}".encode())
    site.processes["worker"].send_signal(signal.SIGTERM)
    # systemd would end the unit after its stop time, and a release lets the job end.
    assert b"STOPPING=1" not in told(systemd, f"STATUS=ends job {job} first".encode())
    _release(site)
    site.wait_status(job, "complete")
