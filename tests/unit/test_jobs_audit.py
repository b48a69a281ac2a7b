"""The audit of jobs finds what it is there for: an instrument that finds nothing must be able to find something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.jobs.audit import (
    Expected,
    Found,
    Moment,
    Move,
    Result,
    Row,
    Told,
    audit,
    doubled,
    longest_recovery,
)

WELL = Found(
    rows=[Row("a", "done", 1), Row("b", "done", 2)],
    moves=[
        Move("a", "", "queued", 0, 0.0),
        Move("b", "", "queued", 0, 0.0),
        Move("a", "queued", "running", 1, 1.0),
        Move("b", "queued", "running", 1, 1.0),
        Move("a", "running", "done", 1, 2.0),
        Move("b", "running", "queued", 1, 3.0),
        Move("b", "queued", "running", 2, 4.0),
        Move("b", "running", "done", 2, 5.0),
    ],
    results=[Result("a", 1, "said"), Result("b", 2)],
)
TOLD = Told(accepted={"a": "said", "b": ""}, ends={"a": {"done"}, "b": {"done"}})
GIVEN_UP = Row("a", "failed", 3, "The worker died 3 times")


def moved(*more: Move) -> Sequence[Move]:
    return [*WELL.moves, *more]


def without(job: str) -> Found:
    return Found(
        rows=[row for row in WELL.rows if row.id != job],
        moves=[move for move in WELL.moves if move.job != job],
        results=[result for result in WELL.results if result.job != job],
    )


def test_nothing_is_said_where_each_job_ended_once() -> None:
    assert audit(WELL, TOLD, Expected()) == []
    assert doubled(WELL) == 0


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (without("a"), "a: was accepted, and the ledger does not know it"),
        (replace(WELL, rows=[Row("a", "running", 1), WELL.rows[1]]), "a: is still running in attempt 1"),
        (replace(WELL, rows=[Row("a", "queued", 1), WELL.rows[1]]), "a: is still queued in attempt 1"),
        (replace(WELL, moves=moved(Move("b", "running", "done", 1, 6.0))), "b: ended 2 times"),
        (replace(WELL, moves=moved(Move("b", "done", "failed", 2, 6.0))), "b: ended 2 times"),
        (replace(WELL, moves=[]), "a: ended 0 times"),
        (replace(WELL, results=[*WELL.results, Result("b", 1)]), "b: is done in attempt 2 and has results of"),
        (replace(WELL, results=[WELL.results[0]]), "b: is done in attempt 2 and has results of attempts []"),
        (replace(WELL, results=[*WELL.results, Result("b", 2)]), "b: is done in attempt 2 and has results of"),
        (replace(WELL, results=[WELL.results[0], Result("b", 1)]), "b: is done in attempt 2 and has results of"),
        (replace(WELL, results=[*WELL.results, Result("c", 1)]), "c: has a result, and the ledger does not know it"),
        (replace(WELL, results=[Result("a", 1, "other"), WELL.results[1]]), "a: its result says ['other']"),
        (replace(WELL, left=["b"]), "b: its work folder is still there"),
        (replace(WELL, rows=[GIVEN_UP, WELL.rows[1]]), "a: failed: The worker died 3 times"),
        (replace(WELL, rows=[Row("a", "failed", 1), WELL.rows[1]]), "1 jobs failed, 0 were to"),
    ],
)
def test_what_is_not_as_it_should_be_is_found(found: Found, said: str) -> None:
    assert any(line.startswith(said) for line in audit(found, TOLD, Expected())), audit(found, TOLD, Expected())


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (replace(TOLD, ends={"a": {"done"}}), "b: is done, and its client was told of no end"),
        (replace(TOLD, ends={"a": {"done", "failed"}, "b": {"done"}}), "a: is done, and its client was told"),
        (replace(TOLD, twice=["a"]), "a: its id was given to two submissions"),
    ],
)
def test_what_clients_were_told_counts(told: Told, said: str) -> None:
    assert any(line.startswith(said) for line in audit(WELL, told, Expected())), audit(WELL, told, Expected())


def test_a_job_whose_client_got_no_answer_must_end_all_the_same() -> None:
    unheard = Told({"a": "said"}, {"a": {"done"}})
    assert audit(WELL, unheard, Expected()) == []
    assert audit(replace(WELL, rows=[WELL.rows[0], Row("b", "queued", 1)]), unheard, Expected())


def test_what_a_fault_may_cost_is_held_to() -> None:
    assert audit(WELL, TOLD, Expected(attempts=1)) == ["b: cost 2 attempts, at most 1 are allowed"]
    failed = Found([GIVEN_UP], [Move("a", "running", "failed", 3, 9.0)])
    told = Told({"a": "said"}, {"a": {"failed"}})
    assert audit(failed, told, Expected(1, "died 3 times")) == []
    assert audit(failed, told, Expected(1, "memory")) == ["a: failed: The worker died 3 times"]
    assert audit(failed, told, Expected(2, "died 3 times")) == ["1 jobs failed, 2 were to"]


def test_doubled_jobs_are_counted() -> None:
    assert doubled(replace(WELL, moves=moved(Move("b", "running", "done", 1, 6.0)))) == 1
    assert doubled(replace(WELL, results=[*WELL.results, Result("b", 1)])) == 1


def test_recovery_is_the_time_until_a_dead_workers_job_runs_again() -> None:
    assert longest_recovery(WELL.moves, [Moment(1.5, 1.5)]) == 2.5
    assert longest_recovery(WELL.moves, [Moment(1.5, 3.5)]) == 1.0  # before that there was no worker
    assert longest_recovery(WELL.moves, []) == 3.0


def test_jobs_that_wait_for_a_worker_that_is_there_are_counted() -> None:
    moves = [
        Move("a", "", "queued", 0, 0.0),
        Move("b", "", "queued", 0, 1.0),
        Move("a", "queued", "running", 1, 9.0),
        Move("b", "queued", "running", 1, 10.0),
    ]
    assert longest_recovery(moves, []) == 9.0
    assert longest_recovery(moves, [Moment(0.5, 8.0)]) == 1.0  # the first one was claimed a second after all was well
