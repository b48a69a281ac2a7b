"""The migrations that this code brings along: their order, which of them expand, and how each is applied."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from app.core.ledger.floor import note_floor

VERSIONS = Path(__file__).parent / "versions"


@dataclass(frozen=True, slots=True)
class Revision:
    """One migration. `floor`: the oldest schema whose code can serve a ledger with this change; None: any older one."""

    id: str
    file: str
    floor: str | None


class Revisions:
    """All migrations of the folder `versions`, from the first to the head."""

    def __init__(self, versions: Path = VERSIONS) -> None:
        self._script = ScriptDirectory(str(versions), version_locations=[str(versions)])
        scripts = reversed(list(self._script.walk_revisions()))
        self._modules: dict[str, Any] = {script.revision: script.module for script in scripts}
        self.all = [_revision(module) for module in self._modules.values()]

    @property
    def head(self) -> str:
        """The schema that this code writes."""
        return self.all[-1].id

    def after(self, schema: str | None) -> list[Revision]:
        """The migrations that a ledger of this schema still needs; None: an empty ledger."""
        return [revision for revision in self.all if schema is None or revision.id > schema]

    def floor(self, schema: str) -> str:
        """The oldest schema whose code can serve a ledger that has `schema`."""
        floors = [revision.floor for revision in self.all if revision.floor and revision.id <= schema]
        return max(floors, default=self.all[0].id)

    def apply(self, connection: Connection, revision: Revision) -> None:
        """Change the tables in the connection's transaction, and note it there."""
        context = MigrationContext.configure(connection)
        with Operations.context(context):
            self._modules[revision.id].upgrade()
        self.stamp(connection, revision.id)

    def stamp(self, connection: Connection, schema: str) -> None:
        """Note in the connection's transaction that the ledger has `schema`, and its floor."""
        MigrationContext.configure(connection).stamp(self._script, schema)
        note_floor(connection, self.floor(schema))


def _revision(module: Any) -> Revision:
    floor = None if module.EXPANDS else getattr(module, "FLOOR", module.revision)
    return Revision(id=module.revision, file=Path(module.__file__).name, floor=floor)


def broken(kept: Iterable[str], floor: str | None) -> Sequence[str]:
    """The schemas of `kept` whose code cannot serve a ledger with this floor."""
    return sorted(schema for schema in kept if floor is not None and schema < floor)
