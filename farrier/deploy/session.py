"""One run for a person: the play, its lines on the screen, its log, and Ctrl-C."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from farrier.deploy.interrupt import interruptible
from farrier.deploy.outcome import Result
from farrier.deploy.runner import Ended, Play, run_play
from farrier.deploy.show import Log, View
from farrier.deploy.story import Story

ROOT = Path(__file__).resolve().parents[2]


def need_inventory(inventory: str) -> None:
    """Exit as refused when there is no such inventory: Ansible would only warn."""
    if not (ROOT / inventory).exists():
        typer.echo(f"{inventory}: there is no such inventory; nothing was changed", err=True)
        raise typer.Exit(Result.REFUSED.code)


@dataclass(frozen=True)
class Done:
    """A run that is over. `interrupted` counts the signals."""

    story: Story
    ended: Ended
    seconds: float
    interrupted: int
    log: Path


def watched(play: Play, view: View, name: str, *, verbose: bool = False) -> Done:
    """Run the main job, or a rollback, with everything that a person sees of it."""
    story, log = Story(), Log(ROOT / "build" / "log", f"{name}-{play.limit}")
    started = time.monotonic()

    def on_event(event: Mapping[str, Any]) -> None:
        said = str(event.get("stdout") or "")
        log.write(said)
        if verbose and said:
            view.say(said)
        elif is_sign_of_life(event):
            view.sign_of_life(said)
        story.tell(event, time.monotonic())
        view.update(story)

    with ExitStack() as stack:
        stack.callback(log.close)
        stack.enter_context(view.live(story))
        interrupt = stack.enter_context(interruptible(lambda: story.going_live, view.say))
        ended = run_play(ROOT, play, on_event, interrupt.brake)
        end = story.cut if interrupt.brake.at_once() else story.close
        end(time.monotonic())
        view.update(story)
    return Done(story, ended, time.monotonic() - started, interrupt.count, log.path)


def is_sign_of_life(event: Mapping[str, Any]) -> bool:
    """Whether it is a line of farrier.heartbeat: a task that takes long says so from inside."""
    return event.get("event") == "verbose" and str(event.get("stdout")).lstrip().startswith("…")


@dataclass(frozen=True)
class Answer:
    """What farrier-release said on one host. `answer` is None where it could not be asked; `error` says why."""

    code: int
    answer: Any
    error: str


class Interrupted(Exception):
    """Somebody pressed Ctrl-C; Ansible is ended, what the host does by itself goes on."""


def answers(play: Play, task: str) -> tuple[dict[str, Answer], Ended]:
    """Run a play whose task `task` asks farrier-release for JSON: each host's answer. Raises Interrupted."""
    found: dict[str, Answer] = {}

    def on_event(event: Mapping[str, Any]) -> None:
        answer = answer_of(event, task)
        if answer is not None:
            found[event["event_data"]["host"]] = answer

    # Whatever runs is the host's own: any moment is a safe one.
    with interruptible(lambda: True, lambda _: None) as interrupt:
        ended = run_play(ROOT, play, on_event, interrupt.brake)
    if interrupt.count:
        raise Interrupted
    return found, ended


def answer_of(event: Mapping[str, Any], task: str) -> Answer | None:
    """The answer that an event carries, if it is one of that task."""
    data = event.get("event_data") or {}
    if data.get("task") != task or event.get("event") not in _ENDINGS:
        return None
    result = data.get("res") or {}
    if event["event"] == "runner_on_unreachable":
        return Answer(4, None, f"cannot be reached: {result.get('msg', '')}".strip().rstrip(":"))
    try:
        return Answer(int(result.get("rc", 1)), json.loads(result.get("stdout") or ""), "")
    except ValueError:
        return Answer(int(result.get("rc", 1)), None, str(result.get("stderr") or result.get("msg") or "").strip())


_ENDINGS = ("runner_on_ok", "runner_on_failed", "runner_on_unreachable")
