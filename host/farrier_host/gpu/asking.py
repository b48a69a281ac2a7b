"""The driver asked in a child process: a driver that hangs hangs a child, never the one who asks.

The child is a fork, not a program of its own: it costs some milliseconds, so that each question can load NVIDIA's
library anew. A session that stays open would not notice that the libraries were exchanged, and would keep the driver
from being unloaded.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from farrier_host.gpu import nvml
from farrier_host.gpu.driver import shown_cards
from farrier_host.gpu.places import Places
from farrier_host.gpu.processes import owner_of, user_name

LIMIT = 3.5  # seconds; with the second between two questions a hanging driver is told within 5
_MOST = 1 << 16


def ask_driver(places: Places, users: dict[int, str]) -> dict[str, Any]:
    """What NVML says, each process with its owner. `users` are names known already; new ones are told as `users`."""
    answer = nvml.read(shown_cards(places))

    def user_of(uid: int) -> str:
        # Looked up here, because a directory of users may be slow as well.
        return users.setdefault(uid, user_name(uid)) if uid not in users else users[uid]

    for card in answer["cards"]:
        card["processes"] = [
            owner_of(each["pid"], places.processes, user_of) | {"memory": each["memory"]}
            for each in card.get("processes", ())
        ]
    return answer | {"users": users}


class Question:
    """One question, under way in a child. There is never more than one: a child that cannot be killed is waited for."""

    def __init__(self, ask: Callable[[], dict[str, Any]]) -> None:
        self.asked = time.monotonic()
        self.at = time.clock_gettime(time.CLOCK_BOOTTIME)
        reading, writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(reading)
            _answer(ask, writing)
        os.close(writing)
        self._pipe = reading
        self._text = b""
        self._is_over = False
        self.is_given_up = False

    @property
    def age(self) -> float:
        """Seconds since it was asked."""
        return time.monotonic() - self.asked

    def wait(self, seconds: float) -> bool:
        """Wait that long for the child to end, with an answer or without; whether it did."""
        until = time.monotonic() + seconds
        while not self._is_over and select.select([self._pipe], [], [], max(0.0, until - time.monotonic()))[0]:
            got = os.read(self._pipe, _MOST)
            self._text += got
            self._is_over = not got
        return self._is_over

    def answer(self) -> dict[str, Any]:
        """The answer; one with an error where the child died of it."""
        try:
            found: dict[str, Any] = json.loads(self._text)
        except ValueError:
            text = "the process that asked NVIDIA's library died"
            return {"libraries": None, "error": {"code": None, "text": text}, "cards": [], "users": {}}
        return found

    def give_up(self) -> None:
        """Kill the child. One that is inside a hanging driver stays until that lets it go."""
        self.is_given_up = True
        os.kill(self._pid, signal.SIGKILL)

    def end(self) -> None:
        """Bury a child whose end of the pipe is closed: it is ending."""
        os.close(self._pipe)
        os.waitpid(self._pid, 0)


def _answer(ask: Callable[[], dict[str, Any]], pipe: int) -> None:
    """In the child: answer and end, whatever happens."""
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with os.fdopen(pipe, "w", encoding="utf-8") as file:
            json.dump(ask(), file)
        code = 0
    except Exception as error:  # noqa: BLE001 - nothing may run on in this copy of the parent
        print(f"farrier-gpus: the driver could not be asked: {error!r}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


class Driver:
    """The driver as far as it answers.

    `reading` is its last answer, `at` when that was asked for (seconds of CLOCK_BOOTTIME), `silent` since when it has
    not given one (seconds of time.monotonic()).
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self._users: dict[int, str] = {}
        self._question: Question | None = None
        self.reading: dict[str, Any] | None = None
        self.at = 0.0
        self.silent: float | None = None

    def look(self, seconds: float) -> None:
        """Ask, or go on with a question under way, for at most that long."""
        question = self._question = self._question or Question(lambda: ask_driver(self._places, self._users))
        left = seconds if question.is_given_up else min(seconds, LIMIT - question.age)
        if question.wait(max(0.0, left)):
            question.end()
            self._question = None
            if not question.is_given_up:
                self._take(question)
        elif not question.is_given_up and question.age >= LIMIT:
            self.silent = self.silent or question.asked
            question.give_up()

    def _take(self, question: Question) -> None:
        reading = question.answer()
        self._users = {int(uid): name for uid, name in reading.pop("users").items()}
        self.reading, self.at, self.silent = reading, question.at, None
