"""Processes that are caught in some way, and how soon systemd, gunicorn or Celery have replaced them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.e2e.site import Site

REPLACED = 30.0  # seconds until a hung part is replaced
UNIT_REPLACED = 60.0  # seconds until a unit is replaced of which every process stands still


@dataclass(frozen=True)
class Unit:
    """A unit on a host."""

    site: Site
    name: str

    def show(self, name: str) -> str:
        """One property, as `systemctl show` says it."""
        return self.site.run(f"systemctl show --property={name} --value {self.name}").strip()

    @property
    def identity(self) -> tuple[str, str]:
        """Changes when systemd replaces the unit's processes."""
        return self.show("InvocationID"), self.show("NRestarts")

    @property
    def main(self) -> str:
        """The main process."""
        return self.show("MainPID")

    def children(self, pattern: str = ".") -> list[str]:
        """The main process's children whose command line matches."""
        return self.site.host.run(f"pgrep --parent {self.main} --full '{pattern}'").stdout.split()

    def signal(self, name: str) -> None:
        """Send a signal to every process of the unit."""
        self.site.run(f"systemctl kill --signal={name} {self.name}")

    def is_replaced(self, before: tuple[str, str]) -> bool:
        """Whether other processes run than before, and work."""
        return self.identity != before and self.show("ActiveState") == "active"

    def has_failed(self) -> bool:
        """Whether systemd has given it up."""
        return self.show("ActiveState") == "failed"

    def await_replaced(self, before: tuple[str, str], within: float) -> None:
        """Wait until other processes work."""
        self.site.until(lambda: self.is_replaced(before), f"{self.name} is replaced", within)

    @contextmanager
    def drop_in(self, text: str) -> Iterator[None]:
        """The unit with a drop-in, restarted with and without it."""
        folder = f"/run/systemd/system/{self.name}.service.d"
        reload = f"systemctl daemon-reload && systemctl reset-failed '{self.name}*' && systemctl restart {self.name}"
        self.site.run(f"mkdir -p {folder} && printf '[Service]\\n{text}\\n' > {folder}/test.conf && {reload}")
        try:
            yield
        finally:
            self.site.run(f"rm -r {folder} && {reload}")
