"""The journal of a stack's activations: what is live, what was before, and whether anybody said that it works."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone

from farrier_host.release import files
from farrier_host.release.files import write_atomically
from farrier_host.release.layout import Layout

ACTIVATING = "activating"  # files are changing; after a crash here the host goes back
UNCONFIRMED = "unconfirmed"  # it runs, and goes back unless confirmed in time
CONFIRMED = "confirmed"


@dataclass(frozen=True)
class State:
    """`active` is live (or becoming so), `previous` comes back when it fails; None: nothing of the stack is live."""

    phase: str = CONFIRMED
    active: str | None = None
    previous: str | None = None
    since: str = ""
    message: str = ""  # why the last activation was taken back, with the unit and its last journal lines

    @property
    def is_settled(self) -> bool:
        """Whether no activation is open."""
        return self.phase == CONFIRMED


def load(layout: Layout, stack: str) -> State:
    """The stack's state; an empty one when nothing was ever activated.

    Where the file is gone or damaged, what is live tells which release it is.
    """
    try:
        return State(**json.loads(layout.state(stack).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return State(active=files.matching_release(layout, stack))


def save(layout: Layout, stack: str, state: State) -> State:
    """Write the state down, with the time, before what it says is done."""
    stamped = replace(state, since=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC"))
    # For root alone: the message may quote the journal.
    write_atomically(layout.state(stack), json.dumps(asdict(stamped), indent=2) + "\n", mode=0o600)
    return stamped
