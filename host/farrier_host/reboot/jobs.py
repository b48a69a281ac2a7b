"""The jobs in hand on this host, and what is told of them to whoever is about to reboot it. Telling is pure."""

from __future__ import annotations

from collections.abc import Mapping

from farrier_host.release import files, state, systemd
from farrier_host.release.decide import FOLLOW
from farrier_host.release.files import Refused
from farrier_host.release.layout import Layout
from farrier_host.release.workers import job_of

_NAMED = 3  # workers; a host of many would fill the terminal
SERVICE = "farrier-reboot-guard"


class Workers:
    """The workers of all live releases. What is live is read again only where farrier-release changed it."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._known: dict[str, tuple[int, list[str]]] = {}

    def busy(self) -> dict[str, str]:
        """The job by worker, of those that work on one. Raises Failed."""
        names = [unit for stack in self.layout.stacks() for unit in self._of(stack)]
        found = {unit: job_of(seen.status) for unit, seen in systemd.look(names).items() if not seen.is_down}
        return {unit: job for unit, job in found.items() if job}

    def _of(self, stack: str) -> list[str]:
        try:
            changed = self.layout.state(stack).stat().st_mtime_ns
        except FileNotFoundError:
            return []
        if self._known.get(stack, (0, []))[0] != changed:
            self._known[stack] = changed, self._read(stack)
        return self._known[stack][1]

    def _read(self, stack: str) -> list[str]:
        now = state.load(self.layout, stack)
        try:
            wanted = files.of_release(self.layout, stack, now.active)
        except Refused:  # its folder was deleted
            return [*now.followers]
        own = [unit for unit in wanted.instances() if wanted.change_of(unit) == FOLLOW and unit.endswith(".service")]
        return list(dict.fromkeys([*own, *now.followers]))


def running(busy: Mapping[str, str]) -> str:
    """`2 jobs run (demo-worker@0, demo-worker@1)`."""
    names = [unit.removesuffix(".service") for unit in sorted(busy)]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)} {'job runs' if len(names) == 1 else 'jobs run'} ({', '.join(names[:_NAMED])}{more})"


def reason(busy: Mapping[str, str], contact: str) -> str:
    """Why a reboot is not welcome, for the lock: systemctl prints it."""
    return (
        f"{running(busy)}; ask {contact or 'who deployed them'}. `systemctl reboot -i` cuts them, and they begin anew"
    )


def going_down(busy: Mapping[str, str], host: str, contact: str) -> str:
    """What everybody who is logged in reads as the host goes down with jobs in hand."""
    return (
        f"{host} goes down while {running(busy)}. They are cut within 30 s, and begin anew when it is up again.\n"
        f"Ask {contact or 'who deployed them'}."
    )


def planned(busy: Mapping[str, str], host: str, contact: str) -> str:
    """What they read when somebody planned a shutdown."""
    return (
        f"{host} is to go down soon, and {running(busy)}. What has not ended by then is cut, and begins anew.\n"
        f"`shutdown -c` takes that back. Ask {contact or 'who deployed them'}."
    )
