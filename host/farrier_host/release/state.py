"""The journal of a stack's activations: what is live, what was before, and whether anybody said that it works."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timezone
from typing import Any

from farrier_host.release import files
from farrier_host.release.files import write_atomically
from farrier_host.release.layout import Layout

ACTIVATING = "activating"  # files are changing; after a crash here the host goes back
UNCONFIRMED = "unconfirmed"  # it runs, and goes back unless confirmed in time
CONFIRMED = "confirmed"


@dataclass(frozen=True)
class State:
    """`active` is live (or becoming so), `previous` is what a rollback brings; None: nothing of the stack."""

    phase: str = CONFIRMED
    active: str | None = None
    previous: str | None = None
    earlier: str | None = None  # becomes `previous` again when an open activation is taken back
    since: str = ""
    who: str = ""
    message: str = ""  # why the last activation was taken back, with the unit and its last journal lines
    touched: tuple[str, ...] = ()  # units whose processes an open activation may have changed, noted before it does
    # Units that go over when their job ends, by name: the process that has to end (`invocation`), `job`, `since`.
    followers: dict[str, dict[str, str]] = field(default_factory=dict)
    proven: bool = True  # whether the verify run went through the workers too, not only as far as the queue
    database: dict[str, str] = field(default_factory=dict)  # schema that was last written (`writes`), and its `floor`
    alone: dict[str, str] = field(default_factory=dict)  # units that went back by themselves: why
    alone_before: dict[str, str] = field(default_factory=dict)  # the same of `previous`, while an activation is open

    @property
    def is_settled(self) -> bool:
        """Whether no activation is open."""
        return self.phase == CONFIRMED


def load(layout: Layout, stack: str) -> State:
    """The stack's state; an empty one when nothing was ever activated.

    Where the file is gone or damaged, what is live tells which release it is. Keys of a newer tool are left out.
    """
    known = {each.name for each in fields(State)}
    try:
        found: dict[str, Any] = json.loads(layout.state(stack).read_text(encoding="utf-8"))
        values = {key: value for key, value in found.items() if key in known}
        return State(**values | {"touched": tuple(values.get("touched", ()))})
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return State(active=files.matching_release(layout, stack))


def save(layout: Layout, stack: str, state: State) -> State:
    """Write the state down before what it says is done. A new phase or release sets the time."""
    before = load(layout, stack)
    same = before.since and (before.phase, before.active) == (state.phase, state.active)
    stamped = replace(state, since=before.since if same else utc())
    # For root alone: the message may quote the journal.
    write_atomically(layout.state(stack), json.dumps(asdict(stamped), indent=2) + "\n", mode=0o600)
    return stamped


def utc() -> str:
    """The time as it stands in state and history."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
