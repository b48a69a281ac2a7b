"""No job is lost: the quick part of tests/faults/jobs.py, which has every fault and 2,000 jobs for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.e2e.site import Site
from tests.faults.jobs import FAULTS, Fault, observe
from tests.jobs import causes
from tests.jobs.clients import Plan
from tests.jobs.serving import JobsHost, add_jobs
from tests.jobs.waking import Wakers, sleepy

QUICK = (causes.children_killed, causes.all_workers_killed, causes.steps_killed, causes.redis_killed)


@pytest.fixture(scope="module")
def jobs(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobsHost]:
    """The stack of the jobs, beside the others."""
    added = add_jobs(site.host, tmp_path_factory.mktemp("jobs"))
    yield added
    added.stop()


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.cause in QUICK], ids=lambda fault: fault.name)
def test_every_accepted_job_ends_exactly_once(jobs: JobsHost, fault: Fault) -> None:
    expected = replace(fault.expected, failures=min(1, fault.expected.failures))
    row = observe(jobs, replace(fault, plan=Plan(jobs=200, pace=100.0, short_every=20), expected=expected))
    assert row.ok, row.observed


def test_a_worker_that_falls_asleep_wakes_for_every_job(jobs: JobsHost) -> None:
    """The quick part of tests/e2e/test_idle.py, which wakes workers 200 times."""
    with sleepy(jobs, 1):
        found = Wakers(jobs, idle=1, seed=1).run(3, pause=0)
    print(found)
    assert found.wrong == []
    assert any(is_cold for _, is_cold in found.waits)
