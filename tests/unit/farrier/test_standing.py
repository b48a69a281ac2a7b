"""When the answer about a stack is known without the host, and that it is the answer the host would give."""

from __future__ import annotations

from typing import Any

import pytest

from farrier_host.release.deploy import Outcome, as_json
from plugins.action.stack_release import live, nothing_to_do, patience, standing

RELEASES = {"demo": "r1", "other": "r2"}


def state(**changes: Any) -> dict[str, Any]:
    return {"todo": {"envs": [], "release": []}, "live": dict(RELEASES)} | changes


def test_all_live_and_nothing_left_is_nothing_to_do() -> None:
    assert nothing_to_do(RELEASES, state())


@pytest.mark.parametrize(
    "changes",
    [
        {"todo": {"envs": ["app-1: absent"], "release": []}},
        {"todo": {"envs": [], "release": ["demo"]}},
        {"live": {"demo": "r1"}},
        {"live": {"demo": "r1", "other": "r0"}},
    ],
    ids=["a part was mended before", "a stack is not well", "one is not live", "one has another release"],
)
def test_anything_else_is_the_hosts_to_say(changes: dict[str, Any]) -> None:
    assert not nothing_to_do(RELEASES, state(**changes))


def test_the_answer_is_the_one_of_farrier_release() -> None:
    said = ["demo: release r1 is live, and all is well with it"]
    assert standing("demo", "r1") == as_json(Outcome("demo", "r1", "nothing to do", said=said))


def test_what_is_live_is_meant_of_the_stacks_of_the_plan_alone() -> None:
    plan = {"stacks": [{"name": "demo"}, {"name": "new"}]}
    assert live(plan, state()) == {"demo": "r1"}


@pytest.mark.parametrize(("within", "seconds"), [([], 600), ([60, 60], 600), ([300, 300], 720)])
def test_a_release_is_kept_as_long_as_its_proofs_may_take(within: list[int], seconds: int) -> None:
    assert patience({"stacks": [{"verify": [{"within": each}]} for each in within]}) == seconds
