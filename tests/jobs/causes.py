"""The faults: each is caused for real while jobs come in, and gives the moments at which something was broken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.jobs.audit import Moment
from tests.jobs.clients import Submission
from tests.jobs.serving import BELLS, LEASE, STATE, WORKERS, JobsHost, small_data_disk

Cause = Callable[[JobsHost, Submission], list[Moment]]
_STEP = "'steps[.]short'"
_MAINS = f"systemctl show --property=MainPID --value {WORKERS}"
_REDIS = "systemctl show --property=MainPID --value jobs-redis"
_FULL = 25.0  # seconds that a disk is full: longer than two leases
_REDIS_AWAY = 15 * 60.0


def _again(once: Callable[[], Moment | None], coming: Submission) -> list[Moment]:
    """As often as planned, with jobs accepted before, in between and after."""
    moments = []
    for number in range(coming.plan.times):
        coming.wait_for(coming.plan.jobs * (number + 1) // (coming.plan.times + 2))
        moments.append(once())
    return [moment for moment in moments if moment]


def _now() -> Moment:
    """Another worker is there all the time."""
    return Moment(time.time(), time.time())


def children_killed(jobs: JobsHost, coming: Submission) -> list[Moment]:
    """kill -9 of the process that holds a job, in the middle of its step."""

    def once() -> Moment:
        pid = jobs.working()["pid"]
        moment = _now()
        jobs.run(f"kill -9 {pid}")
        return moment

    return _again(once, coming)


def mains_killed(jobs: JobsHost, coming: Submission) -> list[Moment]:
    """kill -9 of the main process of a worker that holds a job."""

    def once() -> Moment:
        worker = jobs.working()["worker"]
        moment = _now()
        jobs.run(f"kill -9 $(systemctl show --property=MainPID --value jobs-{worker})")
        return moment

    return _again(once, coming)


def all_workers_killed(jobs: JobsHost, coming: Submission) -> list[Moment]:
    """kill -9 of everything of both workers; systemd starts them again."""

    def once() -> Moment:
        jobs.working()
        struck, before = time.time(), jobs.run(_MAINS)
        jobs.run(f"systemctl kill --signal=KILL {WORKERS}")
        jobs.site.until(lambda: _are_others(before.split(), jobs.run(_MAINS).split()), "both workers started again")
        jobs.site.until(lambda: not jobs.failed(), "both workers active again")
        return Moment(struck, time.time())

    return _again(once, coming)


def _are_others(before: list[str], now: list[str]) -> bool:
    return not {"0", *before} & set(now)


def workers_restarted(jobs: JobsHost, coming: Submission) -> list[Moment]:
    """`systemctl restart` of both."""

    def once() -> Moment:
        jobs.working()
        struck = time.time()
        jobs.run(f"systemctl restart {WORKERS}")
        return Moment(struck, time.time())

    return _again(once, coming)


def workers_stopped(jobs: JobsHost, coming: Submission) -> list[Moment]:
    """`systemctl stop`, then `start` when a quarter of the jobs has come in besides."""
    coming.wait_for(coming.plan.jobs // 4)
    jobs.working()
    struck = time.time()
    jobs.run(f"systemctl stop {BELLS} {WORKERS}")
    coming.wait_for(coming.plan.jobs // 2)
    jobs.run(f"systemctl start {WORKERS}")
    return [Moment(struck, time.time())]


def worker_frozen(jobs: JobsHost, coming: Submission) -> list[Moment]:
    """SIGSTOP of a whole worker until another one has ended its job, then SIGCONT."""
    coming.wait_for(coming.plan.jobs // 4)
    working = jobs.working()
    unit = f"jobs-{working['worker']}"
    struck = time.time()
    jobs.run(f"systemctl kill --signal=STOP {unit}")

    def has_ended() -> bool:
        return working["job"] not in {job["id"] for job in jobs.ask("busy")}

    jobs.site.until(has_ended, "another worker ends the job", within=4 * LEASE)
    jobs.run(f"systemctl kill --signal=CONT {unit}")
    return [Moment(struck, struck + LEASE)]


def steps_killed(jobs: JobsHost, coming: Submission) -> list[Moment]:
    """SIGKILL to a step alone, as the kernel sends it where memory runs out."""

    def once() -> None:
        jobs.working()
        jobs.run(f"until pid=$(pgrep -nu jobs -f {_STEP}) && kill -9 $pid; do sleep 0.05; done")

    return _again(once, coming)


def nothing_more(_: JobsHost, __: Submission) -> list[Moment]:
    """The fault is in a job itself."""
    return []


def redis_killed(jobs: JobsHost, coming: Submission) -> list[Moment]:
    """kill -9 of Redis."""
    return _again(lambda: _without_redis(jobs, "systemctl kill --signal=KILL jobs-redis"), coming)


def redis_restarted(jobs: JobsHost, coming: Submission) -> list[Moment]:
    """`systemctl restart` of Redis."""
    return _again(lambda: _without_redis(jobs, "systemctl restart jobs-redis"), coming)


def redis_wiped(jobs: JobsHost, coming: Submission) -> list[Moment]:
    """FLUSHALL."""

    def once() -> Moment:
        moment = _now()
        assert jobs.redis("flushall") == "OK"
        return moment

    return _again(once, coming)


def redis_away(jobs: JobsHost, coming: Submission) -> list[Moment]:
    """Redis is stopped for a quarter of an hour."""
    coming.wait_for(coming.plan.jobs // 4)
    before = jobs.restarts()
    struck = time.time()
    jobs.run("systemctl stop jobs-redis")
    coming.wait_for(coming.plan.jobs)
    time.sleep(max(0.0, struck + _REDIS_AWAY - time.time()))
    jobs.run("systemctl start jobs-redis")
    well = time.time()
    jobs.wait_until_serving()
    assert jobs.restarts() == before, f"units restarted: {before} -> {jobs.restarts()}"
    return [Moment(struck, well)]


def redis_disk_full(jobs: JobsHost, coming: Submission) -> list[Moment]:
    """Not a byte fits where Redis keeps its data."""
    return [_full(jobs, coming, "redis")]


def ledger_disk_full(jobs: JobsHost, coming: Submission) -> list[Moment]:
    """Not a byte fits where the ledger is, for longer than two leases."""
    return [_full(jobs, coming, "ledger")]


def rebooted(jobs: JobsHost, coming: Submission) -> list[Moment]:
    """The host reboots."""
    coming.wait_for(coming.plan.jobs // 3)
    jobs.working()
    struck = time.time()
    jobs.site.reboot()
    jobs.wait_until_serving()
    return [Moment(struck, time.time())]


def clock_stepped(jobs: JobsHost, coming: Submission) -> list[Moment]:
    """An hour on, and then an hour back, for our units; their own notes of time are of no use then."""
    for number, offset in enumerate(("+3600", "+0", "-3600", "+0")):
        coming.wait_for(coming.plan.jobs * (number + 1) // 6)
        jobs.run(f"echo '{offset}' > {_TIME}")
    return []


@contextmanager
def as_it_is(_: JobsHost) -> Iterator[None]:
    """Nothing is prepared."""
    yield


@contextmanager
def ledger_on_a_small_disk(jobs: JobsHost) -> Iterator[None]:
    """A disk for the ledger alone."""
    with small_data_disk(jobs, "ledger"):
        yield


@contextmanager
def redis_on_a_small_disk(jobs: JobsHost) -> Iterator[None]:
    """A disk for Redis alone."""
    with small_data_disk(jobs, "redis"):
        yield


@contextmanager
def redis_open(jobs: JobsHost) -> Iterator[None]:
    """An administrator of Redis may do what the application may not."""
    jobs.open_redis()
    jobs.wait_until_serving()
    yield


_TIME = "/etc/faketimerc"
_FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
# CLOCK_MONOTONIC, CLOCK_BOOTTIME and the files' times stay, as they do where somebody sets a host's clock.
_SET_CLOCK = (
    f"Environment=LD_PRELOAD={_FAKETIME} FAKETIME_TIMESTAMP_FILE={_TIME} FAKETIME_NO_CACHE=1",
    "Environment=FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1",
)
# libfaketime 0.9.10 breaks sleeps until a moment of CLOCK_MONOTONIC, which Python's time.sleep is made of.
_SLEEP = (
    'import os, time, select; "faketime" in os.environ.get("LD_PRELOAD", "") and '
    'setattr(time, "sleep", lambda seconds, wait=select.select: wait([], [], [], seconds) and None)'
)
_PYTHONS = "/usr/lib/python3/dist-packages /opt/farrier/envs/app-*/lib/python3*/site-packages"


@contextmanager
def clock_of_our_own(jobs: JobsHost) -> Iterator[None]:
    """Our units see a clock that the test sets; the host's is left alone."""
    jobs.run(f"test -e {_FAKETIME} || (apt-get update -qq && apt-get install -y -qq libfaketime >/dev/null)")
    jobs.run(f"echo '+0' > {_TIME}; for folder in {_PYTHONS}; do echo '{_SLEEP}' > $folder/faked_clock.pth; done")
    for unit in (
        "jobs-web",
        "jobs-worker@",
    ):  # redis-server does not start under libfaketime: its allocator asks the time
        jobs.drop_in(unit, "clock", *_SET_CLOCK)
    restart = f"systemctl daemon-reload && systemctl restart jobs-web {WORKERS}"
    try:
        jobs.run(restart)
        jobs.wait_until_serving()
        yield
    finally:
        mended = "rm -f /etc/systemd/system/jobs-*.service.d/clock.conf"
        jobs.run(f"{mended}; for folder in {_PYTHONS}; do rm -f $folder/faked_clock.pth; done; {restart}")
        jobs.wait_until_serving()


def _without_redis(jobs: JobsHost, command: str) -> Moment:
    struck, before = time.time(), jobs.run(_REDIS)
    jobs.run(command)
    jobs.site.until(lambda: _are_others([before], [jobs.run(_REDIS)]), "Redis started again")
    jobs.site.until(lambda: not jobs.failed(), "Redis active again")
    return Moment(struck, time.time())


def _full(jobs: JobsHost, coming: Submission, folder: str) -> Moment:
    coming.wait_for(coming.plan.jobs // 4)
    jobs.working()
    struck = time.time()
    file = f"{STATE}/{folder}/.fill"
    # Again and again: what is freed meanwhile must not be of use.
    jobs.run(f"timeout {_FULL} sh -c 'while :; do dd if=/dev/zero bs=4k >>{file} 2>/dev/null; sleep 0.2; done' || true")
    jobs.run(f"rm {file}")
    return Moment(struck, time.time())
