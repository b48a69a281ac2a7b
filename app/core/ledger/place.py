"""Where the ledger is: in a file of the stack's data folder, or on the PostgreSQL server that a setting names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import URL

from app.core.ledger.postgres import server_url, without_password

ADDRESS = "FARRIER_LEDGER_URL"
PASSWORD = "ledger-password"

Place = Path | URL  # the folder of a ledger in a file, or the address of one on a server


def place_of(environment: Mapping[str, str]) -> Place:
    """The place that a process's environment names; raises ValueError that says what is wrong with it."""
    address = environment.get(ADDRESS, "")
    if not address:
        return Path(environment["FARRIER_STATE"]) / "ledger"
    try:
        return server_url(address, _password(environment.get("CREDENTIALS_DIRECTORY", "")))
    except ValueError as error:
        # The address is not repeated: a password may be in it.
        raise ValueError(f"{ADDRESS} cannot be used: {error}") from None


def _password(folder: str) -> str | None:
    """None: the server knows its clients by their user (peer), or by nothing."""
    path = Path(folder) / PASSWORD
    return path.read_text(encoding="utf-8").strip() if folder and path.is_file() else None


def shown(place: Place) -> str:
    """The place as messages name it, without a password."""
    return str(place) if isinstance(place, Path) else without_password(place)
