"""Edits of the stack files, as people make them: each changes a copy of the tree, none makes it invalid."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Edit = Callable[["Tree"], None]
STACKS = ("hello", "knee")


@dataclass
class Tree:
    """The copy, and the dice that choose the values."""

    root: Path
    dice: random.Random
    earlier: list[Path]

    def file(self, stack: str) -> Path:
        """The stack file."""
        return self.root / "stacks" / stack / "stack.yml"

    @contextmanager
    def stack(self, name: str) -> Iterator[dict[str, Any]]:
        """The stack file's content, to be changed in place."""
        content = yaml.safe_load(self.file(name).read_text())
        yield content
        self.file(name).write_text(yaml.safe_dump(content, sort_keys=False))

    @contextmanager
    def service(self, stack: str, name: str) -> Iterator[dict[str, Any]]:
        """One service of it."""
        with self.stack(stack) as content:
            yield content["services"][name]

    def other(self, service: dict[str, Any], key: str, among: tuple[Any, ...]) -> None:
        """Give the key another value than it has."""
        service[key] = self.dice.choice([value for value in among if value != service.get(key)])

    def append(self, path: str, line: str) -> None:
        """One more line at the end of a file of the tree."""
        with (self.root / path).open("a") as file:
            file.write(f"{line}\n")

    def remember(self) -> None:
        """Keep this state, to come back to."""
        folder = self.root.parent / f"earlier-{len(self.earlier)}"
        for part in ("stacks", "app"):
            shutil.copytree(self.root / part, folder / part)
        self.earlier.append(folder)

    def come_back(self, folder: Path) -> None:
        """Make the tree what it was then."""
        for part in ("stacks", "app"):
            shutil.rmtree(self.root / part)
            shutil.copytree(folder / part, self.root / part)


def set_service(stack: str, name: str, key: str, *among: Any) -> Edit:
    """Another value for a key of a service."""

    def edit(tree: Tree) -> None:
        with tree.service(stack, name) as service:
            tree.other(service, key, among)

    return edit


def set_inside(stack: str, name: str, group: str, key: str, *among: Any) -> Edit:
    """Another value for a key of a group of a service: `limits`, `environment`, `health`."""

    def edit(tree: Tree) -> None:
        with tree.service(stack, name) as service:
            tree.other(service.setdefault(group, {}), key, among)

    return edit


def append(path: str) -> Edit:
    """A line of code, or of text, that was not there."""
    return lambda tree: tree.append(path, f"# {tree.dice.random()}")


def comment(stack: str) -> Edit:
    """Only a comment and empty lines in the stack file."""

    def edit(tree: Tree) -> None:
        text = tree.file(stack).read_text()
        tree.file(stack).write_text(f"# {tree.dice.random()}\n\n{text}\n\n")

    return edit


def describe(stack: str) -> Edit:
    """Another description: the target's text."""

    def edit(tree: Tree) -> None:
        with tree.stack(stack) as content:
            content["description"] = f"The stack, {tree.dice.randrange(10**6)}"

    return edit


def pipeline(change: Callable[[dict[str, Any], int], None]) -> Edit:
    """Something of knee's pipeline."""

    def edit(tree: Tree) -> None:
        with tree.stack("knee") as content:
            change(content["pipelines"]["knee"], tree.dice.randrange(3, 10**6))

    return edit


def add(stack: str, name: str, service: dict[str, Any]) -> Edit:
    """One more service."""

    def edit(tree: Tree) -> None:
        with tree.stack(stack) as content:
            content["services"][name] = dict(service)

    return edit


def remove(stack: str, name: str) -> Edit:
    """One service less, and nobody waits for it any more."""

    def edit(tree: Tree) -> None:
        with tree.stack(stack) as content:
            del content["services"][name]
            for service in content["services"].values():
                service.get("after", {}).pop(name, None)

    return edit


def rename(stack: str, name: str, to: str) -> Edit:
    """The same service by another name."""

    def edit(tree: Tree) -> None:
        with tree.stack(stack) as content:
            content["services"] = {to if key == name else key: each for key, each in content["services"].items()}

    return edit


def route(stack: str, service: str, *routes: dict[str, Any]) -> Edit:
    """Other routes."""

    def edit(tree: Tree) -> None:
        with tree.service(stack, service) as each:
            each["routes"] = [dict(one) for one in routes]

    return edit


def after(stack: str, name: str, *others: str) -> Edit:
    """Another order of starts."""

    def edit(tree: Tree) -> None:
        with tree.service(stack, name) as service:
            service["after"] = dict.fromkeys(others, "started")

    return edit


def verify(stack: str, *steps: dict[str, Any]) -> Edit:
    """Other verify steps."""

    def edit(tree: Tree) -> None:
        with tree.stack(stack) as content:
            content["verify"] = [dict(step) for step in steps]

    return edit


def reorder(stack: str) -> Edit:
    """The services in another order: the same files in the end, as long as none depends on it."""

    def edit(tree: Tree) -> None:
        with tree.stack(stack) as content:
            content["services"] = dict(reversed(content["services"].items()))

    return edit


def both(*edits: Edit) -> Edit:
    """Several at once."""

    def edit(tree: Tree) -> None:
        for each in edits:
            each(tree)

    return edit


def new_env(tree: Tree) -> None:
    """Another lock, so another environment: built anew, with the same packages."""
    tree.append("stacks/hello/envs/web.txt", f"# {tree.dice.random()}")


def come_back(tree: Tree) -> None:
    """All as it was some edits ago."""
    tree.come_back(tree.earlier[-1])


def remember(tree: Tree) -> None:
    """Nothing: this is where a later edit comes back to."""
    tree.remember()


_WEB = {"kind": "asgi", "app": "hello:app", "env": "web", "processes": 1}
_WORKER = {"kind": "celery", "app": "app.knee.worker:celery", "env": "app", "queues": ["slow"]}
_READY = {"get": "/health/ready"}
_REAL_JOB = (
    {"post": "/upload", "file": "fixtures/phantom.nii.gz", "status": 201, "save": "job"},
    {"get": "/status/{job.job_id}", "until": {"status": "complete"}, "within": "3m"},
    {"delete": "/jobs/{job.job_id}", "status": 204},
)
QUICK_VERIFY = verify("knee", _READY)
_ROOT_AND_OLD = ({"path": "/hello"}, {"path": "/old", "strip": True})

# Every kind of edit, by what a person would call it.
EDITS: dict[str, Edit] = {
    "hello: environment variable": set_inside("hello", "web", "environment", "COLOUR", "red", "green", "blue"),
    "knee: verify steps": verify("knee", _READY, _READY),
    "hello: processes": set_service("hello", "web", "processes", 1, 2, 3),
    "hello: a comment and empty lines": comment("hello"),
    "knee: worker's memory": set_inside("knee", "worker", "limits", "memory", "2G", "2500M", "3G"),
    "hello: code": append("stacks/hello/app/hello.py"),
    "app: code of web and worker": append("app/knee/answers.py"),
    "knee: pipeline's code": append("stacks/knee/pipeline/steps/measure.py"),
    "knee: pipeline's title": pipeline(lambda each, number: each.update(title=f"Volumes {number}")),
    "knee: step's timeout": pipeline(lambda each, number: each["steps"][0].update(timeout=number)),
    "knee: pipeline's option": pipeline(lambda each, number: each["options"]["smoothing"].update(maximum=number)),
    "knee: web's memory and cpu": both(
        set_inside("knee", "web", "limits", "memory", "900M", "1100M"),
        set_inside("knee", "web", "limits", "cpu", 1.5, 2),
    ),
    "hello: stop_timeout": set_service("hello", "web", "stop_timeout", 20, 25, 35),
    "knee: redis's memory": set_service("knee", "redis", "memory", "128M", "192M", "256M"),
    "hello: description": describe("hello"),
    "knee: replicas up": set_service("knee", "worker", "replicas", 2),
    "knee: replicas down": set_service("knee", "worker", "replicas", 1),
    "hello: another path": route("hello", "web", {"path": "/hello"}, {"path": "/greet"}),
    "hello: a stripped path": route("hello", "web", *_ROOT_AND_OLD),
    "hello: a host of its own": route("hello", "web", {"path": "/hello"}, {"path": "/", "host": "hello.test"}),
    "hello: request_timeout": set_service("hello", "web", "request_timeout", 20, 40, 50),
    "hello: health path": set_inside("hello", "web", "health", "ready", "/ready", "/up"),
    "a state to come back to": remember,
    "hello: a second web service": both(
        add("hello", "more", _WEB), route("hello", "more", {"path": "/more"}), after("hello", "web", "more")
    ),
    "hello: it is renamed": both(after("hello", "web"), rename("hello", "more", "other")),
    "knee: a second redis": add("knee", "cache", {"kind": "redis", "memory": "64M"}),
    "knee: web waits for it": after("knee", "web", "redis", "cache"),
    "knee: a second worker": add("knee", "slow", _WORKER),
    "knee: its queues": set_service("knee", "slow", "queues", ["slow", "knee"]),
    "hello: code, with two services": append("stacks/hello/app/hello.py"),
    "knee: its replicas and the other's memory": both(
        set_service("knee", "slow", "replicas", 2), set_inside("knee", "worker", "limits", "memory", "2100M", "2200M")
    ),
    "knee: the second worker is removed": remove("knee", "slow"),
    "knee: the second redis is removed": remove("knee", "cache"),
    "hello: the second web service is removed": remove("hello", "other"),
    "back to an earlier state": come_back,
    "hello: another environment": new_env,
    "hello: order of the services": reorder("hello"),
    "knee: order of the services": reorder("knee"),
    "knee: a real job, with its fixture": verify("knee", *_REAL_JOB),
    "both: code, description, verify steps": both(append("stacks/hello/app/hello.py"), describe("knee"), QUICK_VERIFY),
}

# What can be done again and again, at any state: for edits of several things at once.
_AGAIN = [
    "hello: environment variable",
    "hello: processes",
    "hello: a comment and empty lines",
    "hello: code",
    "hello: stop_timeout",
    "hello: description",
    "knee: worker's memory",
    "knee: pipeline's title",
    "knee: redis's memory",
    "knee: web's memory and cpu",
]


def generated(dice: random.Random, count: int) -> Iterator[tuple[str, Edit]]:
    """Every kind of edit once, then such that change several things at once, until there are `count`."""
    yield from list(EDITS.items())[:count]
    for _ in range(count - len(EDITS)):
        names = dice.sample(_AGAIN, dice.choice([2, 3]))
        yield " + ".join(names), both(*(EDITS[name] for name in names))
