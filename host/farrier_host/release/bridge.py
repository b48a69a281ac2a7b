"""The bridge: a second generation of a web service answers while the main one restarts, so that no request fails.

Caddy asks a symlink to a socket. The second generation's units lie in /run only: a reboot in the middle forgets them,
and the symlink is made anew with the main socket.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from farrier_host.release import gate, systemd
from farrier_host.release.files import write_atomically
from farrier_host.release.layout import Layout
from farrier_host.release.step import Step
from farrier_host.release.systemd import Failed

_SUFFIXES = (".socket", ".service")


class Bridge:
    """One web service's way over. `spec` is its entry under `bridges` in a release's plan."""

    def __init__(self, layout: Layout, spec: dict[str, Any]) -> None:
        self.layout, self.spec = layout, spec
        self.unit: str = spec["unit"]
        self.live = Path(spec["live"])
        self.next_units = tuple(f"{self.unit}-next{suffix}" for suffix in _SUFFIXES)
        self.main_units = tuple(f"{self.unit}{suffix}" for suffix in _SUFFIXES)

    def is_up(self) -> bool:
        """Whether the second generation serves: requests lead to it, and it runs."""
        service = self.next_units[1]
        return self._leads_to(self.spec["next"]) and systemd.look([service])[service].is_up

    def is_untidy(self) -> bool:
        """Whether anything of a second generation is left, or requests do not lead to the main socket that is there."""
        left = any((self.layout.passing_units / unit).exists() for unit in self.next_units)
        return left or (Path(self.spec["main"]).exists() and not self._leads_to(self.spec["main"]))

    def build(self, folder: Path, *, is_gated: bool, workers_come: bool) -> Iterator[Step]:
        """Start the second generation out of a release's folder, and lead requests to it once it is ready."""
        service = self.next_units[1]
        yield Step(f"start {service}", lambda: self._start(folder, is_gated=is_gated, workers_come=workers_come))
        yield Step(f"lead requests to {service}", self._lead_over)

    def restart_main(self, *, is_gated: bool, workers_come: bool) -> None:
        """Restart socket and service: the old process ends what it has, the new one is waited for."""
        socket, service = self.main_units
        systemd.stop([service, socket])
        systemd.start(socket)
        systemd.start(service)
        if is_gated:
            self._await_ready(service, self.spec["main"], workers_come=workers_come)

    def take_down(self) -> Iterator[Step]:
        """Lead requests to the main service again, and end the second generation."""
        yield Step(f"lead requests to {self.main_units[1]}", self._lead_back)
        yield Step(f"end {self.next_units[1]}", self.forget)

    def forget(self) -> None:
        """End the second generation, if there is one, and delete its units."""
        systemd.stop([unit for unit in reversed(self.next_units) if (self.layout.passing_units / unit).exists()])
        for unit in self.next_units:
            (self.layout.passing_units / unit).unlink(missing_ok=True)
        systemd.daemon_reload()

    def _start(self, folder: Path, *, is_gated: bool, workers_come: bool) -> None:
        """Nothing of the main service is touched; a generation that is not ready is taken down again."""
        socket, service = self.next_units
        self.forget()
        for unit in self.next_units:
            text = (folder / "next" / unit).read_text(encoding="utf-8")
            write_atomically(self.layout.passing_units / unit, text)
        systemd.daemon_reload()
        try:
            systemd.start(socket)
            systemd.start(service)
            if is_gated:
                self._await_ready(service, self.spec["next"], workers_come=workers_come)
        except Failed as error:
            told = systemd.journal(service)
            self.forget()
            raise Failed(self.main_units[1], f"its second generation: {error.reason}", told) from None

    def _await_ready(self, unit: str, socket: str, *, workers_come: bool) -> None:
        gate.await_ready(unit, socket, self.spec["path"], self.spec["within"], workers_come=workers_come)

    def _lead_over(self) -> None:
        """To the second generation, and wait until the main one has answered all. Raises Failed when that is down."""
        service = self.next_units[1]
        if not systemd.look([service])[service].is_up:
            raise Failed(service, "it does not run, so that no request is led to it")
        self._lead(self.spec["next"])
        gate.await_answered(self.spec["main"], self.spec["path"])

    def _lead_back(self) -> None:
        """To the main service, and wait until the other one has answered all it was asked."""
        service = self.next_units[1]
        self._lead(self.spec["main"])
        if systemd.look([service])[service].is_up:
            gate.await_answered(self.spec["next"], self.spec["path"])

    def _lead(self, socket: str) -> None:
        fresh = self.live.with_name(f".{self.live.name}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(socket)
        fresh.replace(self.live)

    def _leads_to(self, socket: str) -> bool:
        return self.live.is_symlink() and str(self.live.readlink()) == socket
