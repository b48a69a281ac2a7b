"""What `farrier deploy`, `rollback` and `status` make of Ansible's events and of farrier-release's answers."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest

from farrier.deploy.answered import lines
from farrier.deploy.interrupt import Interrupt
from farrier.deploy.outcome import Result, of_answer, result_of, worst
from farrier.deploy.runner import environment_for
from farrier.deploy.session import Answer, answer_of, is_sign_of_life
from farrier.deploy.show import Log, View, summary
from farrier.deploy.status import notes, rows, serving
from farrier.deploy.story import HostStory, Story

FINE: dict[str, Any] = {"stack": "demo", "result": "done", "changed": True, "restarted": ["demo-web.service"]}
FOLLOWER = {"unit": "demo-worker@0.service", "job": "4711"}


def task(role: str, name: str, res: dict[str, Any] | None = None, ending: str = "ok", action: str = "x") -> list[Any]:
    """The events of one task on one host."""
    data = {"host": "pegasus", "role": role, "task": name, "task_action": action}
    started = {"event": "runner_on_start", "event_data": data}
    return [started, {"event": f"runner_on_{ending}", "event_data": data | {"res": res or {}}}]


def story_of(*tasks: list[Any], over: bool = True) -> Story:
    """A story in which each event takes a second."""
    story = Story()
    events = [event for one in tasks for event in one] + ([{"event": "playbook_on_stats"}] if over else [])
    for second, event in enumerate(events):
        story.tell(event, float(second))
    return story


def host_of(*tasks: list[Any]) -> HostStory:
    return story_of(*tasks).hosts["pegasus"]


PLAN = task("", "Plan")
STAGED = task("stack", "Stage the releases", {"changed": True})


def live(ending: str = "ok", **stacks: dict[str, Any]) -> list[Any]:
    """The task that activates, with farrier-release's answers."""
    res = {"stacks": stacks, "changed": any(stack.get("changed") for stack in stacks.values()), "msg": "the cause"}
    return task("release", "Activate", res, ending, "stack_release")


def test_phases_are_roles_with_their_times_and_changes() -> None:
    host = host_of(PLAN, task("conda", "a"), task("conda", "b", {"changed": True}), STAGED)
    assert [(phase.name, phase.seconds, phase.changed) for phase in host.phases] == [
        ("plan", 2, []),
        ("envs", 4, ["b"]),
        ("files", 2, ["Stage the releases"]),
    ]
    assert host.changed == ["envs: b", "files: Stage the releases"]


def test_a_phase_that_is_cut_is_no_success() -> None:
    story = story_of(PLAN, task("conda", "a")[:1], over=False)
    story.cut(9)
    assert [phase.failed for phase in story.hosts["pegasus"].phases] == [False, True]


# how it went -> (tasks, result)
ENDS: dict[str, tuple[tuple[list[Any], ...], Result]] = {
    "nothing changed": ((PLAN, live(demo={"changed": False})), Result.UNCHANGED),
    "a release": ((PLAN, STAGED, live(demo=FINE)), Result.DONE),
    "a worker follows": ((PLAN, STAGED, live(demo=FINE | {"followers": [FOLLOWER]})), Result.FOLLOWS),
    "the plan is refused": ((task("", "Plan", {"msg": "1 problem"}, "failed"),), Result.REFUSED),
    "preflight finds something": ((PLAN, task("preflight", "Compare", {"msg": "no"}, "failed")), Result.REFUSED),
    "an env cannot be built": ((PLAN, task("conda", "Install", {"msg": "no"}, "failed")), Result.FAILED),
    "it went back": ((PLAN, STAGED, live("failed", demo={"error": "x", "result": "failed"})), Result.FAILED),
    "the host refused it": ((PLAN, live("failed", demo={"error": "x", "result": "refused"})), Result.REFUSED),
    "refused, but staged before": ((STAGED, live("failed", demo={"error": "x", "result": "refused"})), Result.FAILED),
    "one refused, another went live": (
        (PLAN, live("failed", demo={"error": "x", "result": "refused"}, other=FINE)),
        Result.FAILED,
    ),
    "a task may fail": ((PLAN, STAGED, live("failed")), Result.FAILED),
    "unreachable": ((task("", "Plan", {"msg": "no route"}, "unreachable"),), Result.UNREACHABLE),
}


@pytest.mark.parametrize(("tasks", "result"), ENDS.values(), ids=ENDS)
def test_how_a_host_ended(tasks: tuple[list[Any], ...], result: Result) -> None:
    assert result_of(host_of(*tasks)) is result


def test_a_failure_that_is_ignored_is_none() -> None:
    events = task("base", "Look", {"msg": "no"}, "failed")
    events[1]["event_data"]["ignore_errors"] = True
    assert result_of(host_of(events)) is Result.UNCHANGED


def test_each_ending_has_its_documented_exit_code() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "exit-codes.md").read_text()
    documented = {word: int(code) for code, word in re.findall(r"^\| (\d+) \| `(\w+)` ", page, re.MULTILINE)}
    assert documented == {result.word: result.code for result in Result}


def test_the_worst_host_decides() -> None:
    assert worst([Result.DONE, Result.FOLLOWS, Result.UNCHANGED]) is Result.FOLLOWS
    assert worst([Result.FOLLOWS, Result.FAILED]) is Result.FAILED
    assert worst([Result.UNREACHABLE, Result.FAILED]) is Result.UNREACHABLE
    assert worst([]) is Result.REFUSED


def test_the_hosts_own_exit_codes_mean_the_same_here() -> None:
    assert [of_answer({"changed": True}, code).code for code in (0, 1, 2, 3, 127)] == [0, 1, 2, 3, 4]
    assert of_answer({"changed": False}, 0) is Result.UNCHANGED


def test_the_summary_says_what_changed_restarted_follows_and_failed() -> None:
    host = host_of(PLAN, STAGED, live(demo=FINE | {"followers": [FOLLOWER]}))
    assert summary(host, Result.FOLLOWS, check=False) == [
        "pegasus: done, but for what follows later, 6.0 s",
        "  changed    files: Stage the releases",
        "  changed    release: Activate",
        "  restarted  demo-web.service",
        "  later      demo-worker@0 follows when job 4711 ends",
    ]
    failed = host_of(task("", "Plan", {"msg": "1 problem\n  here"}, "failed"))
    assert summary(failed, Result.REFUSED, check=False)[1:] == ["  1 problem", "    here"]


def test_a_warning_of_the_plan_is_told_at_the_end() -> None:
    host = host_of(task("", "Plan", {"warnings": ["deployed all the same: why\n  unpushed"]}))
    assert summary(host, Result.UNCHANGED, check=False)[1:] == [
        "  warning    deployed all the same: why",
        "  warning      unpushed",
    ]


def test_a_sign_of_life_is_shown_where_no_clock_runs() -> None:
    stream = io.StringIO()
    event = {"event": "verbose", "stdout": "  … installing environments, 30 s so far"}
    assert is_sign_of_life(event)
    assert not is_sign_of_life({"event": "verbose", "stdout": "[WARNING]: x"})
    View(stream).sign_of_life(str(event["stdout"]))
    assert stream.getvalue() == "  … installing environments, 30 s so far\n"


def test_elsewhere_than_on_a_terminal_lines_are_plain() -> None:
    stream = io.StringIO()
    view, story = View(stream), Story()
    with view.live(story):
        for event in [*PLAN, *STAGED, {"event": "playbook_on_stats"}]:
            story.tell(event, 0.0)
            view.update(story)
    assert stream.getvalue().splitlines() == [
        "✓ pegasus  plan         0.0 s",
        "✓ pegasus  files        0.0 s  1 task changed something",
    ]


def test_the_log_is_for_its_owner_and_without_colours(tmp_path: Path) -> None:
    log = Log(tmp_path / "log", "deploy-a,b")
    log.write("\x1b[0;32mok: [pegasus]\x1b[0m\r\n")
    log.close()
    assert log.path.read_text() == "ok: [pegasus]\n"
    assert log.path.stat().st_mode & 0o777 == 0o600
    assert re.fullmatch(r"deploy-a-b-\d{8}T\d{6}Z\.log", log.path.name)


def test_ansible_gets_an_allow_list_of_the_environment(tmp_path: Path) -> None:
    given = {"HOME": "/root", "LC_ALL": "C", "API_TOKEN": "secret", "ANSIBLE_BECOME_PASS": "secret", "PATH": "/bin"}
    found = environment_for(given, tmp_path)
    assert "secret" not in found.values()
    assert found["HOME"] == "/root"
    assert found["PATH"].endswith(":/bin")
    # the runner would switch it off
    assert found["ANSIBLE_HOST_KEY_CHECKING"] == "True"
    assert environment_for(given | {"ANSIBLE_HOST_KEY_CHECKING": "no"}, tmp_path)["ANSIBLE_HOST_KEY_CHECKING"] == "no"


@pytest.mark.parametrize("going_live", [False, True])
def test_the_first_interrupt_waits_for_a_safe_point_and_the_second_does_not(
    tmp_path: Path, *, going_live: bool
) -> None:
    said: list[str] = []
    interrupt = Interrupt(tmp_path / "stop", lambda: going_live, said.append)
    assert not interrupt.brake.at_once()
    interrupt.signalled(2, None)
    assert (tmp_path / "stop").exists()
    assert interrupt.brake.at_once() is going_live
    assert interrupt.brake.at_once() is going_live
    assert len(said) == (0 if going_live else 1)
    interrupt.signalled(2, None)
    assert interrupt.brake.at_once()


STATE: dict[str, Any] = {
    "phase": "confirmed",
    "active": "2-b",
    "since": "2026-01-01 10:00:00 UTC",
    "ready": True,
    "units": [
        {
            "unit": "demo-web.service",
            "state": "active",
            "since": "2026-01-01 10:00:01 UTC",
            "release": "2-b",
            "note": "",
        },
        {"unit": "demo-worker@0.service", "state": "active", "since": "", "release": "1-a", "note": "is busy"},
    ],
    "followers": [FOLLOWER],
    "alone": {"demo-worker@1.service": "it does not start\njournal"},
    "unproven": "no worker was free",
    "message": "release 3-c was taken back\njournal",
}


def test_status_has_a_row_for_each_service() -> None:
    assert list(rows("pegasus", Answer(0, {"demo": STATE}, ""))) == [
        ("pegasus", "demo", "web", "2-b", "active", "ready", "2026-01-01 10:00:01"),
        ("pegasus", "demo", "worker@0", "1-a", "active", "ready", "2026-01-01 10:00:00"),
    ]
    assert list(notes({"pegasus": Answer(0, {"demo": STATE}, "")})) == [
        "pegasus demo: demo-worker@0 follows when job 4711 ends",
        "pegasus demo: demo-worker@1.service went back alone: it does not start",
        "pegasus demo: no worker was free",
        "pegasus demo: release 3-c was taken back",
    ]


def test_status_tells_a_stack_that_is_not_ready_or_on_trial() -> None:
    def health(**changes: Any) -> str:
        return next(iter(rows("pegasus", Answer(0, {"demo": STATE | changes}, ""))))[5]

    assert health(ready=False) == "NOT READY"
    assert health(phase="unconfirmed") == "unconfirmed"


def test_a_host_that_cannot_be_asked_is_a_line() -> None:
    assert list(rows("unicorn", Answer(4, None, "cannot be reached: no route\nmore"))) == [
        ("unicorn", "cannot be reached: no route")
    ]
    assert list(rows("unicorn", Answer(0, {}, ""))) == [("unicorn", "Farrier has made nothing live here yet")]


def test_what_serves_after_an_interrupt() -> None:
    stacks = {
        "a": {"active": "2", "phase": "activating"},
        "b": {"active": "2", "phase": "unconfirmed"},
        "c": {"active": "1", "phase": "confirmed"},
        "d": {"active": None, "phase": "confirmed"},
    }
    assert serving(stacks) == [
        "a: the activation of 2 goes on by itself on the host",
        "b: 2 is live on trial; the host confirms it, or goes back by itself",
        "c: release 1 serves",
        "d: nothing is live",
    ]


def test_an_answer_is_read_from_the_task_that_asks() -> None:
    def answer(res: dict[str, Any], ending: str = "ok", name: str = "Ask") -> Answer | None:
        return answer_of(task("", name, res, ending)[1], "Ask")

    assert answer({"rc": 0, "stdout": '{"a": 1}'}) == Answer(0, {"a": 1}, "")
    assert answer({"rc": 3, "stdout": '{"a": 1}'}) == Answer(3, {"a": 1}, "")
    assert answer({"rc": 2, "stdout": "", "stderr": "no such stack"}, "failed") == Answer(2, None, "no such stack")
    assert answer({"msg": "no route"}, "unreachable") == Answer(4, None, "cannot be reached: no route")
    assert answer({"rc": 0, "stdout": "{}"}, name="Another") is None


def test_a_rollback_says_what_serves_or_why_not() -> None:
    told = FINE | {"release": "1-a", "seconds": 2.0, "said": ["demo: release 1-a is live again"], "error": ""}
    assert lines("pegasus", "demo", Answer(0, told, ""), Result.DONE) == [
        "pegasus demo: release 1-a, done, 2.0 s",
        "  demo: release 1-a is live again",
        "  restarted  demo-web.service",
    ]
    assert lines("pegasus", "demo", Answer(2, None, "locked by ann"), Result.REFUSED) == ["pegasus demo: locked by ann"]
