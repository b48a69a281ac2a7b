"""What happens to units when the live files change: the table of all sorts of change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from farrier_host.release.decide import Actions, decide, effective
from farrier_host.release.files import FileSet

W0, W1, W2 = (f"a-worker@{index}.service" for index in range(3))
STARTS = {
    "a-clean.timer": ("a-clean.timer",),
    "a-redis.service": ("a-redis.service",),
    "a-tcp.service": ("a-tcp.service",),
    "a-tcp.socket": ("a-tcp.socket",),
    "a-web.service": ("a-web.service",),
    "a-web.socket": ("a-web.socket",),
    "a-worker@.service": (W0, W1),
}
CHANGES = {"a-web.service": "bridge", "a-web.socket": "bridge", "a-worker@.service": "follow"}
# The timer starts a-clean.service; the stack starts only the timer.
UNITS = {name: f"text of {name}" for name in (*STARTS, "a-clean.service", "a.target", "a.slice")}
SITES = {"a.example.org.d/a.caddy": "handle"}
ALL = tuple(unit for name in sorted(STARTS) for unit in STARTS[name])
DROP = "{}.d/50-more.conf"


def stack(
    *changed: str,
    without: tuple[str, ...] = (),
    more: dict[str, str] | None = None,
    workers: int = 2,
    sites: dict[str, str] | None = None,
    starts: dict[str, tuple[str, ...]] | None = None,
    changes: dict[str, str] | None = None,
) -> FileSet:
    """The stack `a` with some of its files changed, left out or added."""
    units = {name: f"{text}, changed" if name in changed else text for name, text in UNITS.items()} | (more or {})
    starting = STARTS | {"a-worker@.service": tuple(f"a-worker@{i}.service" for i in range(workers))} | (starts or {})
    return FileSet(
        {name: text for name, text in units.items() if name not in without},
        SITES if sites is None else sites,
        {name: each for name, each in starting.items() if name not in without and each},
        CHANGES | (changes or {}),
    )


@dataclass(frozen=True)
class Case:
    """Old and new files, what else is known, and what has to happen."""

    old: FileSet
    new: FileSet
    expected: Actions
    known: dict[str, Any] = field(default_factory=dict)


def case(old: FileSet, new: FileSet, known: dict[str, Any] | None = None, **expected: Any) -> Case:
    """Unit files that differ make systemd read them again; `reload` is given where that is all."""
    expected.setdefault("reload", old.units != new.units)
    return Case(old, new, Actions(**expected), known or {})


NOTHING = FileSet()
SAME = stack()
B0, B1 = (f"a-worker@{index}.socket" for index in range(2))
BELL = "a-worker@.socket"
# The same with workers that may sleep; SLEEP are both of them asleep.
DOZY = stack(more={BELL: "text of the bell"}, starts={BELL: (B0, B1)})
SLEEP = {"stopped": {W0, W1}, "asleep": {W0, W1}}


def dozy(*changed: str, bell: str = "text of the bell") -> FileSet:
    """The same with changes."""
    return stack(*changed, more={BELL: bell}, starts={BELL: (B0, B1)})


WEB = ("a-web.service",)
BOTH = ("a-web.service", "a-web.socket")
REST = tuple(unit for unit in ALL if unit not in (W0, W1))


def with_cards(*files: str, **texts: str) -> FileSet:
    """Workers with graphics cards: a file for each instance, in place of the template."""
    more = {name: f"text of {name}{texts.get(name.partition('.')[0].replace('a-worker@', 'w'), '')}" for name in files}
    return stack(
        without=("a-worker@.service",),
        more=more,
        starts={name: (name,) for name in files},
        changes=dict.fromkeys(files, "follow"),
    )


CASES = {
    # ---- whole stacks
    "nothing changed": case(SAME, SAME),
    "first release": case(NOTHING, SAME, enable=(*ALL, "a.target"), start=ALL, reload_front=True),
    "stack is gone": case(SAME, NOTHING, remove=(*REST, "a.target"), retire=(W0, W1), reload_front=True),
    "nothing to nothing": case(NOTHING, NOTHING),
    "everything changed": case(
        SAME,
        stack(*UNITS),
        restart=("a-clean.timer", "a-redis.service"),
        stop=("a-tcp.service", "a-tcp.socket"),
        start=("a-tcp.service", "a-tcp.socket"),
        bridge=("a-web",),
        follow=(W0, W1),
    ),
    # ---- workers with graphics cards
    "workers get cards, and a file each": case(SAME, with_cards(W0, W1), follow=(W0, W1)),
    "workers lose their cards": case(with_cards(W0, W1), SAME, follow=(W0, W1)),
    "one worker gets another card": case(with_cards(W0, W1), with_cards(W0, W1, w1=", changed"), follow=(W1,)),
    "a worker with a card more": case(with_cards(W0, W1), with_cards(W0, W1, W2), enable=(W2,), start=(W2,)),
    "a worker with a card less": case(with_cards(W0, W1), with_cards(W0), retire=(W1,)),
    # ---- plain services
    "service changed": case(SAME, stack("a-redis.service"), restart=("a-redis.service",)),
    "two services changed": case(
        SAME, stack("a-redis.service", "a-tcp.service"), restart=("a-redis.service", "a-tcp.service")
    ),
    "service is gone": case(SAME, stack(without=("a-redis.service",)), remove=("a-redis.service",)),
    "service is new": case(
        stack(without=("a-redis.service",)), SAME, enable=("a-redis.service",), start=("a-redis.service",)
    ),
    "service changed while it is down": case(
        SAME, stack("a-redis.service"), {"stopped": {"a-redis.service"}}, start=("a-redis.service",)
    ),
    "service unchanged and down": case(SAME, SAME, {"stopped": {"a-redis.service"}}, start=("a-redis.service",)),
    "service is gone and was down": case(
        SAME, stack(without=("a-redis.service",)), {"stopped": {"a-redis.service"}}, remove=("a-redis.service",)
    ),
    "service is new and does not run yet": case(
        stack(without=("a-redis.service",)),
        SAME,
        {"stopped": {"a-redis.service"}},
        enable=("a-redis.service",),
        start=("a-redis.service",),
    ),
    "credentials of a service changed": case(
        SAME, SAME, {"outdated": {"a-redis.service"}}, restart=("a-redis.service",)
    ),
    "service and its credentials changed: once": case(
        SAME, stack("a-redis.service"), {"outdated": {"a-redis.service"}}, restart=("a-redis.service",)
    ),
    "service that a timer starts changed: the next run has it": case(SAME, stack("a-clean.service")),
    "service that a timer starts is gone": case(SAME, stack(without=("a-clean.service",))),
    "service that a timer starts is new": case(stack(without=("a-clean.service",)), SAME),
    "service is renamed": case(
        SAME,
        stack(
            without=("a-redis.service",),
            more={"a-store.service": "x"},
            starts={"a-store.service": ("a-store.service",)},
        ),
        remove=("a-redis.service",),
        enable=("a-store.service",),
        start=("a-store.service",),
    ),
    # ---- sockets of plain services
    "socket changed: service and socket stop together": case(
        SAME,
        stack("a-tcp.socket"),
        stop=("a-tcp.service", "a-tcp.socket"),
        start=("a-tcp.service", "a-tcp.socket"),
    ),
    "socket and its service changed": case(
        SAME,
        stack("a-tcp.socket", "a-tcp.service"),
        stop=("a-tcp.service", "a-tcp.socket"),
        start=("a-tcp.service", "a-tcp.socket"),
    ),
    "service with a socket changed: the socket stays": case(SAME, stack("a-tcp.service"), restart=("a-tcp.service",)),
    "socket changed while it is down": case(
        SAME,
        stack("a-tcp.socket"),
        {"stopped": {"a-tcp.socket", "a-tcp.service"}},
        start=("a-tcp.service", "a-tcp.socket"),
    ),
    "socket is new": case(stack(without=("a-tcp.socket",)), SAME, enable=("a-tcp.socket",), start=("a-tcp.socket",)),
    "socket is gone": case(SAME, stack(without=("a-tcp.socket",)), remove=("a-tcp.socket",)),
    # ---- web services
    "web service changed": case(SAME, stack("a-web.service"), bridge=("a-web",)),
    "web socket changed": case(SAME, stack("a-web.socket"), bridge=("a-web",)),
    "web service and socket changed: one bridge": case(SAME, stack(*BOTH), bridge=("a-web",)),
    "credentials of the web service changed": case(SAME, SAME, {"outdated": set(WEB)}, bridge=("a-web",)),
    "web service changed while it is down": case(SAME, stack(*WEB), {"stopped": set(WEB)}, start=WEB),
    "web service unchanged and down": case(SAME, SAME, {"stopped": set(WEB)}, start=WEB),
    "web socket changed, both down": case(SAME, stack("a-web.socket"), {"stopped": set(BOTH)}, start=BOTH),
    "web socket and service changed, the service is down": case(
        SAME, stack(*BOTH), {"stopped": set(WEB)}, stop=BOTH, start=BOTH
    ),
    "web service is new": case(stack(without=BOTH), SAME, enable=BOTH, start=BOTH),
    "web service is gone": case(SAME, stack(without=BOTH), remove=BOTH),
    "two web services changed": case(
        stack(changes={"a-tcp.service": "bridge", "a-tcp.socket": "bridge"}),
        stack("a-tcp.service", "a-web.service", changes={"a-tcp.service": "bridge", "a-tcp.socket": "bridge"}),
        bridge=("a-tcp", "a-web"),
    ),
    "web service becomes a plain one": case(
        SAME,
        stack("a-web.service", changes={"a-web.service": "restart", "a-web.socket": "restart"}),
        restart=("a-web.service",),
    ),
    "plain service becomes a web service": case(
        SAME,
        stack("a-tcp.service", changes={"a-tcp.service": "bridge", "a-tcp.socket": "bridge"}),
        bridge=("a-tcp",),
    ),
    # ---- template instances
    "template changed: every instance follows": case(SAME, stack("a-worker@.service"), follow=(W0, W1)),
    "one worker more": case(SAME, stack(workers=3), enable=(W2,), start=(W2,)),
    "one worker less: it ends its job first": case(SAME, stack(workers=1), retire=(W1,)),
    "template changed, one worker more": case(
        SAME, stack("a-worker@.service", workers=3), enable=(W2,), start=(W2,), follow=(W0, W1)
    ),
    "template changed, one worker less": case(SAME, stack("a-worker@.service", workers=1), retire=(W1,), follow=(W0,)),
    "worker to go is down": case(SAME, stack(workers=1), {"stopped": {W1}}, remove=(W1,)),
    "template changed, one instance is down": case(
        SAME, stack("a-worker@.service"), {"stopped": {W1}}, start=(W1,), follow=(W0,)
    ),
    "credentials of one instance changed": case(SAME, SAME, {"outdated": {W1}}, follow=(W1,)),
    "workers are gone": case(SAME, stack(without=("a-worker@.service",)), retire=(W0, W1)),
    "workers are new": case(stack(without=("a-worker@.service",)), SAME, enable=(W0, W1), start=(W0, W1)),
    "template of a plain kind changed": case(
        stack(changes={"a-worker@.service": "restart"}),
        stack("a-worker@.service", changes={"a-worker@.service": "restart"}),
        restart=(W0, W1),
    ),
    "instance of its own went back alone: the next release takes it along": case(
        stack(more={W1: "the old text"}), SAME, follow=(W1,)
    ),
    "instance of its own says what the template will say": case(
        stack(more={W1: f"text of {'a-worker@.service'}, changed"}), stack("a-worker@.service"), follow=(W0,)
    ),
    "instance goes back alone": case(SAME, stack(more={W0: "the old text"}), follow=(W0,)),
    "template changed under an instance of its own": case(
        stack(more={W0: "own"}), stack("a-worker@.service", more={W0: "own"}), follow=(W1,)
    ),
    # ---- workers that sleep, and their bells
    "workers sleep: they are left alone": case(DOZY, DOZY, SLEEP),
    "workers changed in their sleep: they are started, and so proven": case(
        DOZY, dozy("a-worker@.service"), SLEEP, start=(W0, W1)
    ),
    "one of them sleeps, both changed": case(
        DOZY, dozy("a-worker@.service"), {"stopped": {W0}, "asleep": {W0}}, start=(W0,), follow=(W1,)
    ),
    "one sleeps, the other is down": case(DOZY, DOZY, {"stopped": {W0, W1}, "asleep": {W0}}, start=(W1,)),
    "first release with workers that may sleep": case(
        NOTHING,
        DOZY,
        {"stopped": {*ALL, B0, B1}},
        enable=(*DOZY.instances(), "a.target"),
        start=tuple(DOZY.instances()),
        reload_front=True,
    ),
    "running workers may sleep from now on: their bells come with their next processes": case(
        SAME, dozy("a-worker@.service"), {"stopped": {B0, B1}}, enable=(B0, B1), follow=(W0, W1)
    ),
    "running workers are not to sleep any more": case(
        dozy("a-worker@.service"), SAME, remove=(B0, B1), follow=(W0, W1)
    ),
    "sleeping workers are not to sleep any more": case(
        dozy("a-worker@.service"), SAME, SLEEP, remove=(B0, B1), start=(W0, W1)
    ),
    "bell changed under a running worker: later": case(DOZY, dozy(bell="other")),
    "bell changed while its worker sleeps": case(
        DOZY, dozy(bell="other"), SLEEP, stop=(W0, B0, W1, B1), start=(W0, B0, W1, B1)
    ),
    "bell is down under a running worker: it comes with its next process": case(
        DOZY, DOZY, {"stopped": {B0}}, follow=(W0,)
    ),
    "bell and worker are down": case(DOZY, DOZY, {"stopped": {B0, W0}}, start=(W0, B0)),
    "sleeping workers are gone": case(DOZY, stack(without=("a-worker@.service",)), SLEEP, remove=(W0, W1, B0, B1)),
    "running workers that may sleep are gone": case(
        DOZY, stack(without=("a-worker@.service",)), remove=(B0, B1), retire=(W0, W1)
    ),
    "cut after a worker was touched that sleeps since": case(DOZY, DOZY, SLEEP | {"touched": {W0}}, start=(W0,)),
    # ---- timers
    "timer changed: its service is not run": case(SAME, stack("a-clean.timer"), restart=("a-clean.timer",)),
    "timer and its service changed": case(SAME, stack("a-clean.timer", "a-clean.service"), restart=("a-clean.timer",)),
    "timer is new": case(stack(without=("a-clean.timer",)), SAME, enable=("a-clean.timer",), start=("a-clean.timer",)),
    "timer is gone": case(SAME, stack(without=("a-clean.timer",)), remove=("a-clean.timer",)),
    # ---- targets and slices
    "target changed: nothing restarts": case(SAME, stack("a.target")),
    "slice changed: nothing restarts": case(SAME, stack("a.slice")),
    "target is new": case(stack(without=("a.target",)), SAME, enable=("a.target",)),
    "slice is new": case(stack(without=("a.slice",)), SAME),
    "slice is gone": case(SAME, stack(without=("a.slice",))),
    # ---- drop-ins
    "drop-in of a service is new": case(
        SAME, stack(more={DROP.format("a-redis.service"): "x"}), restart=("a-redis.service",)
    ),
    "drop-in of a service is gone": case(
        stack(more={DROP.format("a-redis.service"): "x"}), SAME, restart=("a-redis.service",)
    ),
    "drop-in of a service changed": case(
        stack(more={DROP.format("a-redis.service"): "x"}),
        stack(more={DROP.format("a-redis.service"): "y"}),
        restart=("a-redis.service",),
    ),
    "drop-in unchanged": case(
        stack(more={DROP.format("a-redis.service"): "x"}), stack(more={DROP.format("a-redis.service"): "x"})
    ),
    "drop-in of a web service": case(SAME, stack(more={DROP.format("a-web.service"): "x"}), bridge=("a-web",)),
    "drop-in of a web socket": case(SAME, stack(more={DROP.format("a-web.socket"): "x"}), bridge=("a-web",)),
    "drop-in of a template: every instance": case(
        SAME, stack(more={DROP.format("a-worker@.service"): "x"}), follow=(W0, W1)
    ),
    "drop-in of one instance": case(SAME, stack(more={DROP.format(W1): "x"}), follow=(W1,)),
    "instance's drop-in hides the template's of that name": case(
        stack(more={DROP.format(W1): "x"}),
        stack(more={DROP.format(W1): "x", DROP.format("a-worker@.service"): "y"}),
        follow=(W0,),
    ),
    "drop-in of a timer": case(SAME, stack(more={DROP.format("a-clean.timer"): "x"}), restart=("a-clean.timer",)),
    "drop-in of the slice": case(SAME, stack(more={DROP.format("a.slice"): "x"})),
    "drop-in of a service that a timer starts": case(SAME, stack(more={DROP.format("a-clean.service"): "x"})),
    # ---- the front door
    "route changed": case(SAME, stack(sites={"a.example.org.d/a.caddy": "other"}), reload_front=True),
    "route is gone": case(SAME, stack(sites={}), reload_front=True),
    "hostname changed": case(SAME, stack(sites={"b.example.org.d/a.caddy": "handle"}), reload_front=True),
    "route and web service changed": case(
        SAME, stack(*WEB, sites={"a.example.org.d/a.caddy": "other"}), bridge=("a-web",), reload_front=True
    ),
    # ---- going back: what a cut activation touched goes over, and nothing else
    "cut before anything was touched": case(stack(*UNITS), SAME, {"touched": set()}),
    "cut after the restart of one service": case(
        stack(*UNITS), SAME, {"touched": {"a-redis.service"}}, restart=("a-redis.service",)
    ),
    "cut after the files were put back, before the processes were": case(
        SAME, SAME, {"touched": {"a-web.service", W0}}, bridge=("a-web",), follow=(W0,)
    ),
    "cut with a new service running": case(
        SAME, stack(without=("a-redis.service",)), {"touched": {"a-redis.service"}}, remove=("a-redis.service",)
    ),
    "cut with a removed service stopped": case(
        stack(without=("a-redis.service",)),
        SAME,
        {"touched": set(), "stopped": {"a-redis.service"}},
        enable=("a-redis.service",),
        start=("a-redis.service",),
    ),
    "touched and down since": case(SAME, SAME, {"touched": set(WEB), "stopped": set(WEB)}, start=WEB),
    # ---- units between two states: which text their next process has, or had, nobody knows
    "touched worker just starting": case(SAME, SAME, {"touched": {W0}, "between": {W0}}, restart=(W0,)),
    "touched redis just starting": case(
        SAME, SAME, {"touched": {"a-redis.service"}, "between": {"a-redis.service"}}, restart=("a-redis.service",)
    ),
    "touched web service just stopping": case(
        SAME, SAME, {"touched": set(BOTH), "between": set(WEB)}, bridge=("a-web",)
    ),
    "touched web service just stopping, its socket down": case(
        SAME,
        SAME,
        {"touched": set(BOTH), "between": set(WEB), "stopped": {"a-web.socket"}},
        bridge=("a-web",),
        start=("a-web.socket",),
    ),
    "untouched worker just starting": case(SAME, SAME, {"touched": set(), "between": {W0}}, start=(W0,)),
    "changed worker that starts again and again": case(
        SAME, stack("a-worker@.service"), {"between": {W0}}, restart=(W0,), follow=(W1,)
    ),
    "untouched worker with another release's code": case(
        SAME, SAME, {"touched": set(), "outdated": {W0}}, follow=(W0,)
    ),
    "touched, and its credentials changed too": case(SAME, SAME, {"touched": {W0}, "outdated": {W1}}, follow=(W0, W1)),
}


def test_the_table_holds_all_sorts_of_change() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_exactly_what_changed_is_touched(case: Case) -> None:
    assert decide(case.old, case.new, **case.known) == case.expected


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_release_that_is_live_changes_nothing_the_second_time(case: Case) -> None:
    assert decide(case.new, case.new) == Actions()


def test_restarts_are_the_processes_that_will_be_others() -> None:
    done = decide(SAME, stack(*UNITS))
    assert done.restarts == ("a-clean.timer", "a-redis.service", "a-tcp.service", "a-web.service", W0, W1)


def test_systemd_reads_an_instance_before_its_template_and_drop_ins_by_name() -> None:
    files = FileSet({"w@.service": "t", "w@1.service": "own", "w@.service.d/b.conf": "b", "w@1.service.d/a.conf": "a"})
    assert effective("w@0.service", files) == ("t", "b")
    assert effective("w@1.service", files) == ("own", "a", "b")
