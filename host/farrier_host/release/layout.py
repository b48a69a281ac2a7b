"""Where releases and live files lie."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

NOTICE = re.compile(r"^# Farrier: stack ([a-z0-9-]+)\.")


@dataclass(frozen=True)
class Layout:
    """The host's folders below `root` (another one than `/` in tests)."""

    root: Path = Path("/")

    @property
    def units(self) -> Path:
        """Live unit files."""
        return self.root / "etc/systemd/system"

    @property
    def sites(self) -> Path:
        """Caddy's sites: `<hostname>.d/<stack>.caddy`."""
        return self.root / "etc/caddy/sites"

    @property
    def lock(self) -> Path:
        """One activation at a time on a host: they share Caddy and systemd."""
        return self.root / "run/farrier-release.lock"

    def stack_lock(self, stack: str) -> Path:
        """One deploy or rollback of a stack at a time."""
        return self.root / "run/farrier-release" / f"{stack}.lock"

    @property
    def passing_units(self) -> Path:
        """Unit files that a reboot forgets."""
        return self.root / "run/systemd/system"

    @property
    def local_ca(self) -> Path:
        """The root certificate of Caddy's internal CA."""
        return self.root / "var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"

    def home(self, stack: str) -> Path:
        """Everything of a stack but its data and secrets."""
        return self.root / "opt/farrier" / stack

    def release(self, stack: str, release: str) -> Path:
        """The folder of one release."""
        return self.home(stack) / "releases" / release

    def state(self, stack: str) -> Path:
        """The journal of the stack's activations."""
        return self.home(stack) / "state.json"

    def history(self, stack: str) -> Path:
        """Who did what, when."""
        return self.home(stack) / "history.jsonl"

    def box(self, stack: str) -> Path:
        """The time that the stack was given; no such file: for ever."""
        return self.home(stack) / "box.json"

    @property
    def contact(self) -> Path:
        """Whom to ask about this host."""
        return self.root / "etc/farrier/contact"

    def credential(self, stack: str, name: str) -> Path:
        """One secret file."""
        return self.root / "etc/farrier" / stack / "credentials" / name

    def stacks(self) -> list[str]:
        """The stacks that have, or had, a release on this host."""
        home = self.root / "opt/farrier"
        return sorted({path.parent.name for kind in ("releases", "state.json") for path in home.glob(f"*/{kind}")})


def owner(text: str) -> str | None:
    """The stack whose notice stands at the head of a live file, or None for a file that is not Farrier's."""
    found = NOTICE.match(text)
    return found[1] if found else None
