"""Processes of tests that use a ledger, wherever it is."""

from __future__ import annotations

import os
from pathlib import Path

from app.core.ledger import Place
from app.core.ledger.postgres import without_password

REPOSITORY = Path(__file__).parents[3]


def environment_of(place: Place, folder: Path) -> dict[str, str]:
    """The environment of a process whose ledger is there; `folder` is for its credentials."""
    if isinstance(place, Path):
        return dict(os.environ) | {"FARRIER_STATE": str(place.parent)}
    credentials = folder / "ledger-credentials"
    credentials.mkdir(exist_ok=True)
    (credentials / "ledger-password").write_text(str(place.password))
    state = {"FARRIER_STATE": str(folder), "CREDENTIALS_DIRECTORY": str(credentials)}
    return dict(os.environ) | state | {"FARRIER_LEDGER_URL": without_password(place)}
