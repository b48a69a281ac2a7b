"""The commands: each takes the open service and the parsed options, and gives the exit code."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from app.core.admin import view
from app.core.admin.retry import NotRetried, retry
from app.core.admin.table import is_coloured
from app.core.ledger import Job, State, lookup
from app.core.service import Service

DONE, REFUSED, UNKNOWN = 0, 1, 3  # exit codes; 2 is argparse's
_HIDDEN = ("email", "client", "boot_id")  # who submitted a job is nobody's business here
_UNDONE = (State.QUEUED, State.RUNNING, State.FAILED)
_LINE = 1000  # bytes that a line of a log is reckoned to have
_say = partial(print, flush=True)


class NoSuchJob(Exception):
    """There is no job of that name, or more than one; the message says which."""


def jobs(service: Service, options: argparse.Namespace) -> int:
    """The newest jobs."""
    states = [State(word) for word in options.state or (State if options.all else _UNDONE)]
    found = lookup.newest(service.database, states, options.limit)
    if options.json:
        _print_json([_plain(job) for job in found])
    elif found:
        _say(view.listed(service, found, colour=is_coloured()))
    else:
        _say("no such jobs" if options.all or options.state else "no jobs queued, running or failed; --all shows all")
    return DONE


def show(service: Service, options: argparse.Namespace) -> int:
    """One job with all that is known of it."""
    job, colour = _find(service, options.job), is_coloured()
    attempts, steps = service.jobs.attempts(job.id), service.jobs.steps(job.id)
    log = _tail(service, job, options.log)
    if options.json:
        parts = {"attempts": [asdict(each) for each in attempts], "steps": [asdict(each) for each in steps]}
        _print_json({"job": _plain(job), **parts, "log": log})
        return DONE
    parts_for_people = [
        "\n".join(view.facts(service, job, colour=colour)),
        view.tried(attempts, colour=colour) if attempts else "",
        view.stepped(steps, colour=colour) if steps else "",
        "\n".join([f"the end of {service.storage.log(job.id)}:", *(f"  {line}" for line in log)]) if log else "",
    ]
    _say("\n\n".join(part for part in parts_for_people if part))
    return DONE


def cancel(service: Service, options: argparse.Namespace) -> int:
    """End jobs that wait or run."""

    def end(job: Job) -> tuple[bool, str]:
        is_ended = service.jobs.cancel(job.id)
        now = _find(service, job.id).state
        if not is_ended:
            return False, f"it has ended already: {now}"
        return True, "its worker ends it within seconds" if now == State.RUNNING else "cancelled"

    return _each(service, options, end)


def submit_again(service: Service, options: argparse.Namespace) -> int:
    """Submit failed or cancelled jobs anew."""

    def again(job: Job) -> tuple[bool, str]:
        try:
            return True, f"submitted again as {retry(service, job).id}"
        except NotRetried as error:
            return False, str(error)

    return _each(service, options, again)


def _each(service: Service, options: argparse.Namespace, act: Callable[[Job], tuple[bool, str]]) -> int:
    """Act on every job named; all of them are found before the first is touched."""
    chosen = [_find(service, name) for name in options.job]
    outcomes = {job.id: act(job) for job in chosen}
    if options.json:
        _print_json({job: {"done": done, "said": said} for job, (done, said) in outcomes.items()})
    for job, (done, said) in outcomes.items() if not options.json else ():
        print(f"{job}: {said}", file=sys.stdout if done else sys.stderr, flush=True)
    return DONE if all(done for done, _ in outcomes.values()) else REFUSED


def stats(service: Service, options: argparse.Namespace) -> int:
    """Figures over all jobs."""
    queues, free = _figures(service), service.storage.free()
    if options.json:
        _print_json({"queues": queues, "disk_free_bytes": free})
    for line in view.figures(queues, free, colour=is_coloured()) if not options.json else ():
        _say(line)
    return DONE


def _figures(service: Service) -> dict[str, dict[str, Any]]:
    states, errors = lookup.by_state(service.database), lookup.by_error(service.database)
    oldest, alive, now = lookup.oldest_waiting(service.database), service.workers.alive(), service.clock.wall()
    return {
        queue: {
            "jobs": {state.value: states.get((queue, state.value), 0) for state in State},
            "failures": {code: count for (of, code), count in errors.items() if of == queue},
            "oldest_queued_seconds": max(0.0, now - oldest[queue]) if queue in oldest else None,
            "mean_seconds": service.jobs.mean(queue),
            "workers": alive.get(queue, 0),
        }
        for queue in sorted({*service.settings.queues, *(queue for queue, _ in states)})
    }


def _find(service: Service, name: str) -> Job:
    found = lookup.ids_like(service.database, name.lower())
    job = service.jobs.find(found[0]) if len(found) == 1 else None
    if job is None:
        raise NoSuchJob(f"several jobs begin with {name}: {', '.join(found)}" if found else f"there is no job {name}")
    return job


def _tail(service: Service, job: Job, lines: int) -> list[str]:
    path = service.storage.log(job.id)
    if not lines or not path.is_file():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - lines * _LINE))
        return file.read().decode("utf-8", "replace").splitlines()[-lines:]


def _plain(job: Job) -> dict[str, Any]:
    return {name: value for name, value in asdict(job).items() if name not in _HIDDEN}


def _print_json(value: object) -> None:
    _say(json.dumps(value, indent=2, default=str))
