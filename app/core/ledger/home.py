"""What a migration needs of the place where a ledger lies; `file_home` and `server_home` are the two there are."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine

from app.core.ledger.layout import Layout
from app.core.ledger.revisions import Revision, Revisions


class Refused(Exception):
    """The migration is not to be done: a kept release could not live with it. Nothing was changed."""


class Failed(Exception):
    """The migration cannot be done here and now. The ledger is as it was."""


class Home(Protocol):
    """One ledger, as its migration sees it."""

    name: str  # for messages

    def is_missing(self) -> bool:
        """Whether nothing is there yet, not even an empty database."""

    def alone(self) -> AbstractContextManager[None]:
        """Keep every other migration of this ledger waiting."""

    def clean(self) -> None:
        """Remove what a migration that was killed left."""

    def engine(self) -> AbstractContextManager[Engine]:
        """Connections to the ledger, whose transactions also hold what they change of the tables."""

    def adopts(self, layout: Layout, revisions: Revisions) -> Revision:
        """The schema of tables that have no version; raises Failed where they are none of ours."""

    def trial(self, engine: Engine, label: str) -> AbstractContextManager[Connection]:
        """A transaction in which a migration can be tried: nothing of it stays."""

    def keep(self, label: str) -> Path:
        """Copy the ledger as it is now, into a new file."""

    def prune(self) -> None:
        """Delete all copies but the last few."""

    def explain(self, said: str) -> str | None:
        """What to do about an error of the database or the disk; None: it is none of these."""
