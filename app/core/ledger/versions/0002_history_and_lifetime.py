"""Attempts and steps are kept; a job can be cancelled, and has what retention, mail and rate limits need to know."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
EXPANDS = True  # code of schema 0001 names none of it


def upgrade() -> None:
    """What is not nullable has a default, for jobs that older code submits."""
    for column in (
        sa.Column("ended_seq", sa.Integer),
        sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("keep_input", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("input_dropped_wall", sa.Float),
        sa.Column("expires_wall", sa.Float),
        sa.Column("expired_wall", sa.Float),
        sa.Column("email", sa.Text),
        sa.Column("mailed_wall", sa.Float),
        sa.Column("client", sa.Text),
    ):
        op.add_column("jobs", column)
    op.create_index("jobs_by_end", "jobs", ["queue", "state", "verify", "ended_seq"])
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.String(32), primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("release", sa.String(128), nullable=False),
        sa.Column("began_wall", sa.Float, nullable=False),
        sa.Column("ended_wall", sa.Float),
        sa.Column("outcome", sa.String(16)),
        sa.Column("error_code", sa.String(64)),
        sa.Column("duration", sa.Float),
    )
    op.create_table(
        "steps",
        sa.Column("job_id", sa.String(32), primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("began_wall", sa.Float, nullable=False),
        sa.Column("duration", sa.Float),
        sa.Column("outcome", sa.String(16)),
    )
