"""The steps that lead from the live files to those of a release, in their order. Each may raise Failed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from farrier_host.release import files, gate, systemd
from farrier_host.release.bridge import Bridge
from farrier_host.release.decide import Actions
from farrier_host.release.files import FileSet
from farrier_host.release.layout import Layout
from farrier_host.release.step import Step
from farrier_host.release.workers import Followers, Workers


class Way:
    """The way from `old`, what is live, to `new`, the files of a release (`plan`, `folder`; empty: to nothing).

    `down`: units that an administrator keeps down; they are not started, and readiness, which may hang on them, is not
    waited for. `followers` holds, after the steps, the workers that still end a job.
    """

    def __init__(self, layout: Layout, old: FileSet, new: FileSet, actions: Actions, workers: Workers) -> None:
        self.layout, self.old, self.new, self.actions, self.workers = layout, old, new, actions, workers
        self.plan: dict[str, Any] = {"bridges": [], "gates": []}
        self.folder = Path()
        self.down: frozenset[str] = frozenset()
        self.mode = "follow"
        self.followers: Followers = {}

    def steps(self, leftovers: list[Bridge]) -> Iterator[Step]:
        """All steps. `leftovers`: second generations that a cut activation left."""
        yield from self._files()
        yield from self._plain()
        for bridge in self._bridges():
            yield from self._over(bridge)
        for bridge in leftovers:  # of services that need none: they served as long as the main ones may have been down
            if bridge.unit not in self.actions.bridge:
                yield from bridge.take_down()
        if not self.down:
            bridged = [f"{name}.service" for name in self.actions.bridge]
            yield from (self._gate(each) for each in self.plan["gates"] if each["unit"] not in bridged)
        yield from self._workers()
        if self.actions.follow and not self.followers and not self.down:  # now nothing excuses anybody
            yield from (self._gate(each) for each in self.plan["gates"])
        if self.actions.reload_front:
            yield Step("replace the routes", partial(files.replace_sites, self.layout, self.old, self.new))
            yield Step("reload Caddy", systemd.reload_caddy)

    def _files(self) -> Iterator[Step]:
        actions = self.actions
        yield Step("", partial(self.workers.want, self.new.instances()))
        if actions.retire:
            yield Step(f"let go {', '.join(actions.retire)}", self._let_go)
        gone = [*actions.remove, *actions.stop]
        if gone:
            yield Step(f"stop {', '.join(gone)}", partial(systemd.stop, gone), tuple(gone))
        if actions.remove or actions.retire:
            both = [*actions.remove, *actions.retire]
            yield Step(f"disable {', '.join(both)}", partial(systemd.disable, both))
        if actions.reload:
            yield Step("replace unit files", self._replace_units)
        if actions.enable:
            yield Step(f"enable {', '.join(actions.enable)}", partial(systemd.enable, actions.enable))

    def _replace_units(self) -> None:
        """All but those of bridged services, which change when the second generation serves."""
        bridged = {unit for bridge in self._bridges() for unit in bridge.main_units}
        kept = {name: self.old.units[name] for name in bridged if name in self.old.units}
        files.replace_units(self.layout, self.old, replace(self.new, units=self.new.units | kept))
        systemd.daemon_reload()

    def _plain(self) -> Iterator[Step]:
        over = [unit for unit in self.actions.restart if unit not in self.down]
        yield from (Step(f"restart {unit}", partial(systemd.restart, unit), (unit,)) for unit in over)
        fresh = [unit for unit in self.actions.start if unit not in self.down]
        yield from (Step(f"start {unit}", partial(systemd.start, unit), (unit,)) for unit in fresh)
        targets = [file for file in sorted(self.new.units) if file.endswith(".target")]
        # A start of one that is up would start all that it wants: also workers that sleep.
        yield from (Step("", partial(systemd.start_down, target)) for target in targets)

    def _bridges(self) -> list[Bridge]:
        return [Bridge(self.layout, spec) for spec in self.plan["bridges"] if spec["unit"] in self.actions.bridge]

    def _over(self, bridge: Bridge) -> Iterator[Step]:
        """One web service goes over. A second generation that a cut activation left in service is as good as ours."""
        is_gated, come = not self.down, bool(self.actions.follow)
        if not bridge.is_up():
            yield from bridge.build(self.folder, is_gated=is_gated, workers_come=come)
        socket, service = bridge.main_units
        both = (self.old, self.new)

        def restart() -> None:
            sets = [{name: each.units[name] for name in bridge.main_units if name in each.units} for each in both]
            files.replace_units(self.layout, FileSet(sets[0]), FileSet(sets[1]))
            systemd.daemon_reload()
            bridge.restart_main(is_gated=is_gated, workers_come=come)

        yield Step(f"restart {service}", restart, (socket, service))
        yield from bridge.take_down()

    def _gate(self, each: dict[str, Any]) -> Step:
        wait = partial(gate.await_ready, each["unit"], each["socket"], each["path"], each["within"])
        return Step(f"wait until {each['unit']} is ready", wait)

    def _workers(self) -> Iterator[Step]:
        asked = [unit for unit in self.actions.follow if unit not in self.down]
        if asked and self.mode == "now":
            yield from (Step(f"restart {unit}", partial(systemd.restart, unit), (unit,)) for unit in asked)
        elif asked:
            yield Step(f"let {', '.join(asked)} go over", partial(self._go_over, asked), tuple(asked))

    def _let_go(self) -> None:
        self.followers |= self.workers.let_go(self.actions.retire)

    def _go_over(self, asked: list[str]) -> None:
        self.followers |= self.workers.await_over(self.workers.ask(asked), self.mode)
