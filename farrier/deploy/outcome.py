"""How a deploy ended, as one word and an exit code. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from farrier.deploy.story import HostStory

EXIT_CODES = """\
exit codes:

0  done, or nothing to do

1  failed; the release before serves

2  refused, nothing was changed

3  done, but a GPU worker ends its job first and follows later

4  anything else: a host that cannot be reached, for example

130  interrupted; the last lines say what the host runs
"""


class Result(Enum):
    """The word in --json, and the exit code."""

    DONE = ("done", 0)
    UNCHANGED = ("unchanged", 0)
    FAILED = ("failed", 1)
    REFUSED = ("refused", 2)
    FOLLOWS = ("follows", 3)
    UNREACHABLE = ("unreachable", 4)
    ERROR = ("error", 4)
    INTERRUPTED = ("interrupted", 130)

    def __init__(self, word: str, code: int) -> None:
        self.word, self.code = word, code


# The worst of several hosts is what the whole run exits with.
_WORST = (
    Result.INTERRUPTED,
    Result.ERROR,
    Result.UNREACHABLE,
    Result.FAILED,
    Result.REFUSED,
    Result.FOLLOWS,
    Result.DONE,
    Result.UNCHANGED,
)
_BEFORE_ANY_CHANGE = frozenset({"plan", "preflight"})  # phases that only look


def result_of(host: HostStory) -> Result:
    """How one host's run ended that nobody interrupted."""
    if host.unreachable:
        return Result.UNREACHABLE
    if host.failure:
        return Result.REFUSED if _is_refusal(host) else Result.FAILED
    if any(stack.get("followers") for stack in host.stacks.values()):
        return Result.FOLLOWS
    return Result.DONE if host.changed else Result.UNCHANGED


def _is_refusal(host: HostStory) -> bool:
    """Whether nothing was changed: a phase that only looks found it, or the host refused every stack that failed."""
    if any(phase.changed for phase in host.phases):
        return False
    failed = [stack for stack in host.stacks.values() if stack.get("error")]
    if failed:
        return all(stack.get("result") == "refused" for stack in failed)
    return host.phases[-1].name in _BEFORE_ANY_CHANGE if host.phases else True


def worst(results: Iterable[Result]) -> Result:
    """What the whole run ends with; an empty run was refused before it reached any host."""
    found = set(results)
    return next((result for result in _WORST if result in found), Result.REFUSED)


def of_answer(answer: Mapping[str, Any], code: int) -> Result:
    """What farrier-release's own answer and exit code on a host mean here."""
    if code == 0:
        return Result.DONE if answer.get("changed") else Result.UNCHANGED
    known = {1: Result.FAILED, 2: Result.REFUSED, 3: Result.FOLLOWS}
    return known.get(code, Result.ERROR)
