"""A prediction for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from farrier.effects.model import Download, Effects, StackEffects, UnitEffect, Wait
from farrier.values import human_size

_SAYS = {
    "bridge": "a second generation serves while it restarts, nobody waits",
    "follow": "restarts when its job ends (at once when it has none)",
    "restart": "restarts in its place",
    "start": "starts",
    "stop": "stops, and is removed",
    "end": "ends its job, and is removed",
}
_RELEASES = {"first": "its first release", "new": "a new release", "same": "the release that is live"}
_MARKS = {"new": "+", "changed": "~", "removed": "-"}
_OWN = "/opt/farrier/host/"


def as_lines(effects: Effects) -> list[str]:
    """The whole prediction, line by line."""
    if not effects.changes:
        return [f"{effects.host}: nothing changes"]
    lines = [f"{effects.host}:"]
    for stack in effects.stacks:
        lines += [f"  {line}" for line in _stack(stack)]
    lines += [f"  {line}" for line in _host(effects)]
    return lines


def _stack(stack: StackEffects) -> Iterator[str]:
    if not stack.changes:
        yield f"{stack.stack}: nothing changes"
        return
    yield f"{stack.stack}: {_RELEASES[stack.release]}{'' if stack.units else ', no unit restarts'}"
    yield from (f"  {_unit(each)}" for each in stack.units)
    yield from (f"  {_MARKS[each.become]} {each.path}" for each in stack.files)
    yield from (f"  {note}" for note in stack.notes)


def _unit(effect: UnitEffect) -> str:
    return f"{effect.unit}: {_SAYS[effect.how]} ({effect.why})"


def _host(effects: Effects) -> Iterator[str]:
    own = [each for each in effects.files if each.path.startswith(_OWN)]
    yield from (f"{_MARKS[each.become]} {each.path}" for each in effects.files if each not in own)
    if own:
        mark = "+" if all(each.become == "new" for each in own) else "~"
        yield f"{mark} {_OWN}: farrier-release itself, {len(own)} {'file' if len(own) == 1 else 'files'}"
    yield "Caddy: reads its configuration again, no connection is cut" if effects.reload_front else "Caddy: untouched"
    yield _downloads(effects.downloads)
    for disk in effects.disks:
        yield f"disk: {disk.folder} needs {human_size(disk.need)}, {human_size(disk.free)} are free"
    yield _longest([wait for stack in effects.stacks for wait in stack.waits], effects.longest_wait)


def _downloads(found: Sequence[Download]) -> str:
    if not found:
        return "to download: nothing"
    known, unknown = [each for each in found if each.size is not None], [each for each in found if each.size is None]
    parts = [f"{human_size(sum(each.size or 0 for each in known))} ({'; '.join(_sized(known))})"] if known else []
    parts += [f"of unknown size: {'; '.join(each.what for each in unknown)}"] if unknown else []
    return f"to download: {'; '.join(parts)}"


def _sized(known: Sequence[Download]) -> Iterator[str]:
    yield from (f"{each.what}, {human_size(each.size or 0)}" for each in known)


def _longest(waits: Sequence[Wait], total: int) -> str:
    if not waits:
        return "longest wait: none"
    longest = sorted(waits, key=lambda wait: -wait.seconds)[:3]
    parts = ", ".join(f"{wait.what} {duration(wait.seconds)}" for wait in longest)
    return f"longest wait: {duration(total)}, were every time limit used up ({parts}{', …' if len(waits) > 3 else ''})"


def duration(seconds: int) -> str:
    """`3 min 20 s`."""
    minutes, rest = divmod(seconds, 60)
    return " ".join([*([f"{minutes} min"] if minutes else []), *([f"{rest} s"] if rest or not minutes else [])])
