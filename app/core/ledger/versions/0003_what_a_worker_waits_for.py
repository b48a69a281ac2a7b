"""A worker says what it waits for before it takes a job: a GPU that somebody else holds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
EXPANDS = True  # code of schema 0002 writes rows without it


def upgrade() -> None:
    """Words for people, and none while the worker waits for nothing."""
    op.add_column("workers", sa.Column("waiting", sa.Text))
