"""The verify run: a stack's own requests through the front door, on the host itself. It proves that the stack works."""

from __future__ import annotations

import http.client
import json
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from farrier_host.release import files
from farrier_host.release.http import FrontDoor, status_of
from farrier_host.release.layout import Layout

_REQUEST_LIMIT = 30.0  # seconds for one request
_GATE_LIMIT = 5.0
_PAUSE = 0.5
_STUCK = 15.0  # seconds for which no worker is free for a step's job, before its proof is left for later
RIGHT, WRONG, WAITING = "right", "wrong", "waiting"


class VerifyFailed(Exception):
    """A step got another answer than the stack file asks for. The text says which, and what came."""


class _Stuck(Exception):
    """No worker is free for the job that a step waits for."""


@dataclass(frozen=True)
class Answer:
    """Status, and the body as JSON where it is JSON."""

    status: int
    body: Any


class Verifier:
    """Runs the verify steps of one release."""

    def __init__(self, layout: Layout, stack: str, release: str, say: Callable[[str], None]) -> None:
        self.layout, self.say = layout, say
        self.folder = layout.release(stack, release)
        self.plan = files.read_plan(layout, stack, release)
        self.token = layout.credential(stack, "verify-token").read_text(encoding="utf-8").strip()
        self.saved: dict[str, Any] = {}
        self.is_held: Callable[[], bool] = lambda: False  # while it is, a step that waits has all its time before it
        self.is_stuck: Callable[[], bool] = lambda: False  # where that lasts, the proof ends at the queue
        self.reached_jobs = True

    @property
    def values(self) -> set[str]:
        """What saved answers said; ids of the proof's own jobs are among it."""
        return {str(value) for body in self.saved.values() if isinstance(body, dict) for value in body.values()}

    def run(self, *, as_far_as_queue: bool = False) -> int:
        """Run the steps; how many there were. Raises VerifyFailed at the first that is not as it should be.

        `as_far_as_queue`: no worker is free just now, so that no step waits for a job's end, and what comes after such
        a step is left out but for its cleaning up; `reached_jobs` is False then. So it is where `is_stuck` lasts.
        """
        self.reached_jobs = not as_far_as_queue
        left, done = queue_steps(self.plan["verify"]) if as_far_as_queue else self.plan["verify"], 0
        while left:
            step, *left = left
            try:
                self._one(step)
                done += 1
            except _Stuck:
                self.say("no worker is free for it: that is proven later")
                self.reached_jobs, left = False, _deletions(left)
        return done

    def _one(self, step: dict[str, Any]) -> None:
        started = time.monotonic()
        path = fill_in(step["path"], self.saved)
        answer = self._step(step, path)
        self.say(f"{step['method']} {path} → {answer.status} ({time.monotonic() - started:.1f} s)")
        if step["save"]:
            self.saved[step["save"]] = answer.body

    def _step(self, step: dict[str, Any], path: str) -> Answer:
        deadline, shown = time.monotonic() + step["within"], ""
        free = time.monotonic()  # when a worker was, the last time
        while True:
            if step["until"] and self.is_held():
                deadline = time.monotonic() + step["within"]
            rest = deadline - time.monotonic()
            answer = self._request(step, path, max(1.0, min(_REQUEST_LIMIT, rest)))
            verdict = judge(step, answer)
            if verdict == RIGHT:
                return answer
            if verdict == WRONG or rest < 0:
                expected = " ".join([str(step["status"]), *([str(step["until"])] if step["until"] else [])])
                what = f"{step['method']} {path} answered {answer.status or 'nothing'}, not {expected}"
                raise VerifyFailed(f"{what}: {answer.body}{self._unready()}")
            so_far = ", ".join(f"{key} {_field(answer.body, key)}" for key in step["until"])
            if so_far != shown:
                self.say(f"  … {step['method']} {path}: {so_far}")
                shown = so_far
            free = free if self.is_stuck() else time.monotonic()
            if time.monotonic() - free > _STUCK:
                raise _Stuck
            time.sleep(_PAUSE)

    def _unready(self) -> str:
        """What the stack says of itself, as a hint at the cause; empty when it says that it is ready."""
        answers = [(gate, *status_of(gate["socket"], gate["path"], _GATE_LIMIT)) for gate in self.plan["gates"]]
        return "".join(f"\n{gate['unit']} is not ready: {body}" for gate, status, body in answers if status != 200)

    def _request(self, step: dict[str, Any], path: str, limit: float) -> Answer:
        """One request; status 0 when there was no answer."""
        host = self.plan["routes"][0]["host"]
        connection = FrontDoor(host, self.plan["front_port"], self.layout.local_ca, limit)
        body, headers = self._body(step)
        try:
            connection.request(step["method"], path, body=body, headers=headers | {"X-Farrier-Verify": self.token})
            answer = connection.getresponse()
            return Answer(answer.status, _decoded(answer.read()))
        except (OSError, http.client.HTTPException) as error:
            return Answer(0, f"https://{host}{path}: {error}")
        finally:
            connection.close()

    def _body(self, step: dict[str, Any]) -> tuple[bytes | None, dict[str, str]]:
        if step["file"] is None:
            return None, {}
        content = (self.folder / "fixtures" / step["file"]).read_bytes()
        return multipart(step["file"], content, uuid.uuid4().hex)


def queue_steps(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The steps that need no worker: the first that waits asks once, and of those after it the deletions are left."""
    wait = next((index for index, step in enumerate(steps) if step["until"]), len(steps))
    asked = [step | {"until": {}} for step in steps[wait : wait + 1]]
    return [*steps[:wait], *asked, *_deletions(steps[wait + 1 :])]


def _deletions(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [step for step in steps if step["method"] == "DELETE"]


def multipart(name: str, content: bytes, boundary: str) -> tuple[bytes, dict[str, str]]:
    """A form with one field `file` (RFC 7578): body and headers."""
    disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    head = f"--{boundary}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n"
    return head.encode() + content + f"\r\n--{boundary}--\r\n".encode(), {
        "Content-Type": f"multipart/form-data; boundary={boundary}"
    }


def fill_in(path: str, saved: dict[str, Any]) -> str:
    """`/status/{job.job_id}` with the field of a saved answer. Raises VerifyFailed when it is not there."""

    def value(match: re.Match[str]) -> str:
        name, _, key = match[1].partition(".")
        try:
            return str(saved[name][key])
        except (KeyError, TypeError):
            raise VerifyFailed(f"{path}: no saved answer has {match[1]}") from None

    return re.sub(r"\{([^}]+)\}", value, path)


def judge(step: dict[str, Any], answer: Answer) -> str:
    """RIGHT, WRONG, or WAITING: a step with `until` asks again, also when one of its requests met a passing fault."""
    if answer.status == step["status"]:
        if matches(step["until"], answer.body):
            return RIGHT
        return WRONG if impossible(step["until"], answer.body) else WAITING
    passing = answer.status == 0 or answer.status >= 500
    return WAITING if step["until"] and passing else WRONG


def matches(expected: dict[str, Any], body: Any) -> bool:
    """Whether the answer has every expected value."""
    return all(isinstance(body, dict) and body.get(key) == value for key, value in expected.items())


def impossible(expected: dict[str, Any], body: Any) -> bool:
    """Whether waiting on is pointless: the job we wait for has ended in an error."""
    return "status" in expected and isinstance(body, dict) and body.get("status") in ("error", "failed", "cancelled")


def _field(body: Any, key: str) -> Any:
    return body.get(key) if isinstance(body, dict) else body


def _decoded(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content[:500].decode("utf-8", "replace")
