"""What is refused on a production host."""

from __future__ import annotations

from typing import Any

import pytest

from farrier.git import Checkout
from farrier.guard import personal_logs, unguarded

HEAD = "1a2b3c4" + "0" * 33
OLD = "9f8e7d6" + "0" * 33
CLEAN = Checkout(HEAD, pushed=True)

# what is wrong -> (channel, the tree, the commit of the stack files, what is told)
CASES = {
    "nothing": ("stable", CLEAN, Checkout(OLD, pushed=True), []),
    "unstable": (
        "unstable",
        CLEAN,
        None,
        ["inventory variables of pegasus: farrier_channel: channel 'unstable' is not"],
    ),
    "dirty": (
        "stable",
        Checkout(HEAD, ("a.yml",), pushed=True),
        CLEAN,
        ["working tree: differs from commit 1a2b3c4: a.yml"],
    ),
    "unpushed": ("stable", Checkout(HEAD), Checkout(OLD, pushed=True), ["commit 1a2b3c4: is on no branch of a remote"]),
    "unpushed commit of the channel": (
        "9f8e7d6",
        CLEAN,
        Checkout(OLD),
        ["commit 9f8e7d6: is on no branch of a remote"],
    ),
    "the same commit twice is told once": (HEAD, Checkout(HEAD), Checkout(HEAD), ["commit 1a2b3c4: is on no"]),
    "no checkout": ("v1", Checkout(None, complaint="not a git repository"), CLEAN, ["is no git checkout"]),
    "everything": ("unstable", Checkout(HEAD, ("a",)), None, ["working tree", "commit 1a2b3c4", "inventory variables"]),
}


@pytest.mark.parametrize(("channel", "tree", "exported", "told"), CASES.values(), ids=CASES)
def test_what_speaks_against_production(
    channel: str, tree: Checkout, exported: Checkout | None, told: list[str]
) -> None:
    found = [str(problem) for problem in unguarded("pegasus", channel, tree, exported)]
    assert len(found) == len(told), found
    for problem, words in zip(found, told, strict=True):
        assert words in problem


def test_many_changed_files_are_counted_not_listed() -> None:
    (problem,) = unguarded("pegasus", "stable", Checkout(HEAD, tuple("abcdefgh"), pushed=True))
    assert "a, b, c, d, e and 3 more: commit, stash or remove them" in str(problem)


@pytest.mark.parametrize(("value", "services"), [("true", ["web", "worker"]), ("false", []), ("", [])])
def test_logs_that_name_users_are_told(repository: Any, jobs: str, value: str, services: list[str]) -> None:
    repository.stack("knee", f"{jobs}environment: {{PII_LOGGING_ENABLED: '{value}'}}\n")
    found = [str(problem) for problem in personal_logs(repository.plan("knee"))]
    assert found == [
        f"stack: knee.services.{name}: PII_LOGGING_ENABLED is on: logs would name users and their files; take it out"
        for name in services
    ]
