"""What a ledger says of itself: its schema, and its floor, the oldest schema whose code can serve it."""

from __future__ import annotations

from sqlalchemy import Connection, inspect, text

VERSION_TABLE = "alembic_version"


def schema_of(connection: Connection) -> str | None:
    """The schema that the ledger says it has; None where it says nothing."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one_or_none()


def floor_of(connection: Connection) -> int:
    """The floor; 0 where none was noted."""
    if connection.dialect.name == "sqlite":
        return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    query = text(f"SELECT obj_description(to_regclass('{VERSION_TABLE}'), 'pg_class')")
    return int((connection.execute(query).scalar_one() or "floor 0").removeprefix("floor "))


def note_floor(connection: Connection, floor: str) -> None:
    """Note the floor in the connection's transaction, beside the schema."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA user_version={int(floor)}")
    else:
        connection.exec_driver_sql(f"COMMENT ON TABLE {VERSION_TABLE} IS 'floor {floor}'")
