"""Collecting what nothing needs any more: old releases, and the code, envs and models that only they used.

A release stays when it is live, was live before, is named in its stack's state, or is among the newest. Code,
configuration, envs and models stay when any release that is on the host names them, of whatever stack; when anything
runs from them; and for a day after a deploy last asked for them, because a deploy brings envs and models long before
its release is there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from farrier_host.release import lock, running, shared, state
from farrier_host.release.files import Refused
from farrier_host.release.layout import Layout
from farrier_host.release.needed import HOUR, Damaged, abandoned, is_old, model_stores, needed, staged
from farrier_host.release.removal import Removal, Say, size

DAY = 24 * 3600.0
_TEMPORARY = re.compile(r"\.farrier-\w+|\.state\.json\.\w+")  # of writers that were cut


@dataclass(frozen=True)
class Collected:
    """What became of it: `removed` and `left` are lines for people, `freed` is in bytes."""

    removed: tuple[str, ...] = ()
    freed: int = 0
    left: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{len(self.removed)} removed, {size(self.freed)} freed" if self.removed else "nothing to remove"


def collect(
    layout: Layout,
    keep_releases: int,
    say: Say,
    *,
    stacks: Collection[str] | None = None,
    unused_for: float = DAY,
    proc: Path = Path("/proc"),
) -> Collected:
    """Remove what nothing needs. It may be cut at any point: the next run takes up the rest.

    `keep_releases`: how many releases of a stack stay besides the live one, the one before and those in its state.
    `stacks`: whose releases and code may go; all when None. Whatever it says, a stack with nothing live, an open
    activation, a worker on an older release or a state that cannot be read is left alone, and so is one whose lock
    somebody holds. Envs and models go by what the releases of all stacks need.
    `unused_for`: seconds for which no deploy has asked for code, an env or a model before that may go.
    While an activation runs nothing is removed.
    """
    removal = Removal(say)
    stores = model_stores(layout)
    layout.lock.parent.mkdir(parents=True, exist_ok=True)
    with shared.held(layout.lock) as is_free:
        if is_free:
            in_use = running.named(layout, [shared.ROOT, *stores], proc)
            chosen = [stack for stack in layout.stacks() if stacks is None or stack in stacks]
            hidden = _Hiding(layout, in_use, unused_for, removal).all_of(chosen, keep_releases, stores)
        else:
            removal.leave("an activation is under way: nothing is collected now")
            hidden = False
    removal.finish()
    if hidden:
        shared.clean_caches(layout, removal, unused_for)
        for store in stores:
            shared.clean_store(layout, store, removal, unused_for)
    return Collected(tuple(removal.removed), removal.freed, tuple(removal.left))


def keep(releases: Sequence[str], pinned: Collection[str], newest: int) -> frozenset[str]:
    """Which of the `releases`, given from the oldest to the newest, stay: the pinned ones and the `newest` others."""
    others = [release for release in releases if release not in pinned]
    return frozenset(releases) & frozenset(pinned) | frozenset(others[max(0, len(others) - newest) :])


class _Hiding:
    """The first half, under the lock of activations: takes out of sight what is to go, and that costs no time."""

    def __init__(self, layout: Layout, in_use: running.Named, unused_for: float, removal: Removal) -> None:
        self.layout, self.in_use, self.unused_for, self.removal = layout, in_use, unused_for, removal

    def all_of(self, stacks: Sequence[str], keep_releases: int, stores: Sequence[str]) -> bool:
        """Releases of the `stacks`, then what is shared; False when it cannot be known what is needed."""
        open_to_it = [stack for stack in stacks if self._locked_releases(stack, keep_releases)]
        try:
            wanted = needed(self.layout)
        except Damaged as error:
            self.removal.leave(f"{error}: code, envs and models are left alone; deploy that stack again to mend it")
            return False
        for stack in open_to_it:
            shared.hide_code(self.layout, stack, wanted, self._is_spared, self.removal)
        shared.hide_envs(self.layout, wanted, self._is_spared, self.removal)
        for store in stores:
            shared.hide_models(self.layout, store, wanted, self._is_spared, self.removal)
        return True

    def _locked_releases(self, stack: str, keep_releases: int) -> bool:
        try:
            with lock.hold(self.layout, stack, "farrier-release collect", "collecting old releases"):
                return self._hide_releases(stack, keep_releases)
        except Refused as error:
            self.removal.leave(f"{error}; its releases are left alone")
            return False

    def _hide_releases(self, stack: str, keep_releases: int) -> bool:
        """False when the stack is to be left alone."""
        home = self.layout.home(stack)
        for folder in ("releases", "code", "config"):
            self.removal.sweep(home / folder)
        releases = staged(self.layout, stack)
        pinned, why = pinned_by_state(self.layout, stack, releases)
        if why:
            self.removal.leave(f"{stack}: {why}: its releases are left alone")
            return False
        for release in sorted(set(releases) - keep(releases, pinned, keep_releases)):
            if not self.in_use.uses(f"{shared.ROOT}/{stack}/releases/{release}"):
                self.removal.hide(f"release {release} of {stack}", self.layout.release(stack, release))
        for path in [*abandoned(self.layout, stack), *_temporary(home)]:
            self.removal.hide(f"the rest of a cut run, {path.name} of {stack}", path)
        return True

    def _is_spared(self, path: Path, on_host: str) -> bool:
        return not is_old(path, self.unused_for) or self.in_use.uses(on_host)


def pinned_by_state(layout: Layout, stack: str, releases: Sequence[str]) -> tuple[frozenset[str], str]:
    """The `releases` that stand anywhere in the stack's state; and why nothing of it may go, empty when it may."""
    try:
        text = layout.state(stack).read_text(encoding="utf-8")
        found = json.loads(text)
        active, phase = found["active"], found["phase"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return frozenset(), f"its state.json cannot be read ({error})"
    if phase != state.CONFIRMED:
        return frozenset(), "an activation is open"
    if found.get("followers") or found.get("alone"):
        return frozenset(), "a worker runs an older release"
    # As text: whatever stands in it counts, as live, as the one before, or in a message.
    pinned = frozenset(release for release in releases if release in text)
    return pinned, "" if active in releases else "none of its releases is live"


def _temporary(home: Path) -> list[Path]:
    found = [path for path in home.rglob(".*") if _TEMPORARY.fullmatch(path.name) and path.is_file()]
    return [path for path in found if not path.is_symlink() and is_old(path, HOUR)]
