"""The ledger as it was before it had versions: jobs, workers and leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
EXPANDS = True


def upgrade() -> None:
    """Make the tables. They stand here as they were then, whatever `tables.py` says today."""
    op.create_table(
        "jobs",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(32), nullable=False, unique=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(128)),
        sa.Column("boot_id", sa.String(32)),
        sa.Column("lease_until", sa.Float),
        sa.Column("started_at", sa.Float),
        sa.Column("queue", sa.String(64), nullable=False),
        sa.Column("pipeline", sa.String(64), nullable=False),
        sa.Column("release", sa.String(128), nullable=False),
        sa.Column("verify", sa.Boolean, nullable=False),
        sa.Column("options", sa.JSON, nullable=False),
        sa.Column("input_name", sa.Text, nullable=False),
        sa.Column("sent", sa.Boolean, nullable=False),
        sa.Column("sent_at", sa.Float),
        sa.Column("sent_boot_id", sa.String(32)),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error_message", sa.Text),
        sa.Column("progress", sa.Float, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("steps", sa.Integer, nullable=False),
        sa.Column("step_name", sa.Text),
        sa.Column("summary", sa.JSON),
        sa.Column("result_size", sa.Integer),
        sa.Column("duration", sa.Float),
        sa.Column("submitted_wall", sa.Float, nullable=False),
        sa.Column("ended_wall", sa.Float),
        sqlite_autoincrement=True,
    )
    op.create_index("jobs_by_turn", "jobs", ["state", "queue", "verify", "seq"])
    op.create_table(
        "workers",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("queue", sa.String(64), primary_key=True),
        sa.Column("boot_id", sa.String(32), nullable=False),
        sa.Column("alive_until", sa.Float, nullable=False),
        sa.Column("draining", sa.Boolean, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("boot_id", sa.String(32), nullable=False),
        sa.Column("lease_until", sa.Float, nullable=False),
    )
