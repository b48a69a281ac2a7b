"""What happens to units when the live files change."""

from __future__ import annotations

import pytest

from farrier_host.release.decide import Actions, decide
from farrier_host.release.files import FileSet

STARTS = {
    "a-redis.service": ("a-redis.service",),
    "a-web.service": ("a-web.service",),
    "a-web.socket": ("a-web.socket",),
    "a-worker@.service": ("a-worker@0.service", "a-worker@1.service"),
}
UNITS = dict.fromkeys([*STARTS, "a.target", "a.slice"], "text")
ALL = ("a-redis.service", "a-web.service", "a-web.socket", "a-worker@0.service", "a-worker@1.service")


def files(changed: tuple[str, ...] = (), without: tuple[str, ...] = (), workers: int = 2) -> FileSet:
    units = {name: "other text" if name in changed else text for name, text in UNITS.items() if name not in without}
    starts = {
        name: tuple(f"a-worker@{i}.service" for i in range(workers)) if "@" in name else each
        for name, each in STARTS.items()
    }
    return FileSet(units, {}, {name: each for name, each in starts.items() if name not in without})


CASES = {
    "nothing changed": (files(), files(), Actions(start=(*ALL, "a.target"))),
    "first release": (FileSet(), files(), Actions(enable=(*ALL, "a.target"), start=(*ALL, "a.target"))),
    "stack is gone": (files(), FileSet(), Actions(disable=(*ALL, "a.target"))),
    "service changed": (
        files(),
        files(("a-web.service",)),
        Actions(restart=("a-web.service",), start=("a-redis.service", *ALL[2:], "a.target")),
    ),
    "template changed: every instance": (
        files(),
        files(("a-worker@.service",)),
        Actions(restart=ALL[3:], start=(*ALL[:3], "a.target")),
    ),
    "socket changed: service and socket stop together": (
        files(),
        files(("a-web.socket",)),
        Actions(stop=("a-web.service", "a-web.socket"), start=(*ALL, "a.target")),
    ),
    "socket and its service changed": (
        files(),
        files(("a-web.socket", "a-web.service")),
        Actions(stop=("a-web.service", "a-web.socket"), start=(*ALL, "a.target")),
    ),
    "one worker less": (files(), files(workers=1), Actions(disable=(ALL[4],), start=(*ALL[:4], "a.target"))),
    "one worker more": (
        files(workers=1),
        files(),
        Actions(enable=(ALL[4],), start=(*ALL, "a.target")),
    ),
    "a service is gone": (
        files(),
        files(without=("a-redis.service",)),
        Actions(disable=("a-redis.service",), start=(*ALL[1:], "a.target")),
    ),
    "target and slice changed: systemd reads them again": (
        files(),
        files(("a.target", "a.slice")),
        Actions(start=(*ALL, "a.target")),
    ),
}


@pytest.mark.parametrize(("old", "new", "expected"), CASES.values(), ids=CASES)
def test_exactly_what_changed_is_touched(old: FileSet, new: FileSet, expected: Actions) -> None:
    assert decide(old, new) == expected
