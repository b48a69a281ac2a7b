"""A run on the screen: one line per phase, moving on a terminal, plain elsewhere."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from farrier.deploy.outcome import Result
from farrier.deploy.story import HostStory, Phase, Story

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class View:
    """Shows the phases of a story as they begin and end."""

    def __init__(self, stream: TextIO) -> None:
        self.console = Console(file=stream, highlight=False, soft_wrap=True, emoji=False)
        self._shown: list[Phase] = []

    @contextmanager
    def live(self, story: Story) -> Iterator[None]:
        """On a terminal, show the phase that runs with the time that it takes, while the block lasts."""
        if not self.console.is_terminal:
            yield
            return
        with Live(_Running(story), console=self.console, refresh_per_second=4, transient=True):
            yield

    def update(self, story: Story) -> None:
        """A line for each phase that ended since."""
        for phase in (phase for host in story.hosts.values() for phase in host.phases):
            if phase.seconds is not None and phase not in self._shown:
                self._shown.append(phase)
                self.console.print(phase_line(phase))

    def sign_of_life(self, text: str) -> None:
        """What a long task says of itself now and then; on a terminal the clock tells as much."""
        if not self.console.is_terminal:
            self.say(text)

    def say(self, text: str, style: str = "") -> None:
        """Any other line."""
        self.console.print(Text(text, style=style))


class _Running:
    """The line of the phase that runs now, drawn again and again."""

    def __init__(self, story: Story) -> None:
        self._story = story

    def __rich__(self) -> Text:
        phase = self._story.current
        if phase is None:
            return Text("…", style="dim")
        return Text(f"… {phase.host}  {phase.name:<10} {time.monotonic() - phase.began:5.0f} s", style="cyan")


def phase_line(phase: Phase) -> Text:
    """`✓ pegasus  envs  12.3 s  2 changed`."""
    mark, style = ("✗", "red") if phase.failed else ("✓", "green")
    count = len(phase.changed)
    changed = "" if not count else f"  {count} {'task' if count == 1 else 'tasks'} changed something"
    line = Text(mark, style=style)
    return line.append(f" {phase.host}  {phase.name:<10} {phase.seconds or 0:5.1f} s{changed}", style="none")


def summary(host: HostStory, result: Result, *, check: bool) -> list[str]:
    """What people want to know at the end of a host's run."""
    heads = {
        Result.DONE: "would change" if check else "done",
        Result.UNCHANGED: "nothing to do",
        Result.FAILED: "failed",
        Result.REFUSED: "refused, nothing was changed",
        Result.FOLLOWS: "done, but for what follows later",
        Result.UNREACHABLE: "cannot be reached",
    }
    lines = [f"{host.name}: {heads.get(result, result.word)}, {host.seconds:.1f} s"]
    lines += [f"  changed    {task}" for task in host.changed]
    lines += [f"  warning    {line}" for warning in host.warnings for line in warning.splitlines()]
    for stack in host.stacks.values():
        lines += [f"  restarted  {unit}" for unit in stack.get("restarted", ())]
    for stack in host.stacks.values():
        lines += [f"  later      {follower(each)}" for each in stack.get("followers", ())]
    lines += [f"  {line}" for line in host.failure.splitlines()]
    return lines


def follower(each: Mapping[str, Any]) -> str:
    """`demo-worker@0 follows when job 4711 ends`."""
    unit = str(each["unit"]).removesuffix(".service")
    return f"{unit} follows when job {each['job']} ends" if each.get("job") else f"{unit} follows when its job ends"


class Log:
    """The whole output of Ansible in a file for its owner alone."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self.path = folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}-{stamp}.log"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")

    def write(self, text: str) -> None:
        """Add lines, without colours, at once."""
        if text:
            self._file.write(_COLOURS.sub("", text).replace("\r\n", "\n").rstrip("\n") + "\n")
            self._file.flush()

    def close(self) -> None:
        """Nothing follows."""
        self._file.close()


def last_lines(text: str, count: int = 20) -> Sequence[str]:
    """The end of what Ansible said, for a run that did not begin."""
    return [line for line in _COLOURS.sub("", text).splitlines() if line.strip()][-count:]
