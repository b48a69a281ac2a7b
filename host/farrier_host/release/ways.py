"""The way from what is live of a stack to another release, as it is found on the host."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from farrier_host.release import files, systemd
from farrier_host.release.bells import sleepers
from farrier_host.release.bridge import Bridge
from farrier_host.release.decide import decide
from farrier_host.release.files import FileSet, Refused
from farrier_host.release.health import missing, outdated, strangers
from farrier_host.release.layout import Layout
from farrier_host.release.state import State
from farrier_host.release.steps import Way
from farrier_host.release.workers import Workers


@dataclass(frozen=True)
class Ways:
    """Looks at the host and changes nothing. `say` is what the steps of a way tell."""

    layout: Layout
    stack: str
    say: Callable[[str], None]

    def between(
        self,
        releases: list[str | None],
        to: str | None,
        touched: Iterable[str] | None = None,
        more: Mapping[str, str] | None = None,
    ) -> Way:
        """From what `releases` put live to the release `to`, and `more` unit files."""
        old, new = self.live(*releases), files.of_release(self.layout, self.stack, to)
        new = replace(new, units={**new.units, **(more or {})})
        seen = systemd.look({*old.instances(), *new.instances()})
        plan = files.read_plan(self.layout, self.stack, to) if to else None
        up = {unit: each for unit, each in seen.items() if each.is_up}
        actions = decide(
            old,
            new,
            touched=None if touched is None else frozenset(touched),
            outdated={*(outdated(plan, up) if plan else ()), *strangers(new, seen)},
            stopped={unit for unit, each in seen.items() if each.is_down},
            between={unit for unit, each in seen.items() if not each.is_up and not each.is_down},
            asleep=sleepers(old, seen) | sleepers(new, seen),
        )
        way = Way(self.layout, old, new, actions, Workers(self.layout, self.say))
        if plan is not None and to is not None:
            way.plan, way.folder = plan, self.layout.release(self.stack, to)
        # What an administrator disabled or masked stays down.
        way.down = frozenset(
            unit for unit, each in seen.items() if each.is_kept_down and unit not in actions.enable and not each.is_up
        )
        return way

    def back(self, failed: State) -> Way:
        """From a failed release to the one before. Raises Refused when that cannot run any more."""
        previous = failed.previous
        if previous:
            gone = missing(self.layout, files.read_plan(self.layout, self.stack, previous))
            if gone:
                raise Refused(f"release {previous} needs what is gone: {', '.join(gone)}")
        alone = files.alone_texts(self.layout, self.stack, failed.alone_before, failed.earlier)
        return self.between([failed.active, previous], previous, failed.touched, alone)

    def leftovers(self, releases: Iterable[str | None]) -> list[Bridge]:
        """Second generations that are still there."""
        found: dict[str, Bridge] = {}
        for release in releases:
            with suppress(Refused):
                plan = files.read_plan(self.layout, self.stack, release) if release else {}
                found |= {spec["unit"]: Bridge(self.layout, spec) for spec in plan.get("bridges", [])}
        return [bridge for bridge in found.values() if bridge.is_untidy()]

    def live(self, *releases: str | None) -> FileSet:
        """What is live, whichever of the releases put it there; the first knows best what its files start."""
        of = FileSet()
        for release in releases:
            with suppress(Refused):  # its folder was deleted: what it started is not known
                each = files.of_release(self.layout, self.stack, release)
                of = FileSet(starts=each.starts | of.starts, changes=each.changes | of.changes)
        return files.live(self.layout, self.stack, of)
