"""The ledger's tables. Times named `*_at` without more are seconds since the boot in the same row's `boot_id`."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

SCHEMA = "0001"  # the newest migration in versions/, which these tables are the result of

metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),  # the order of arrival, which no clock can disturb
    Column("id", String(32), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False, default=0),
    Column("owner", String(128)),
    Column("boot_id", String(32)),
    Column("lease_until", Float),
    Column("started_at", Float),
    Column("queue", String(64), nullable=False),
    Column("pipeline", String(64), nullable=False),
    Column("release", String(128), nullable=False),
    Column("verify", Boolean, nullable=False),
    Column("options", JSON, nullable=False),
    Column("input_name", Text, nullable=False),
    Column("sent", Boolean, nullable=False, default=False),
    Column("sent_at", Float),
    Column("sent_boot_id", String(32)),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("progress", Float, nullable=False, default=0.0),
    Column("step", Integer, nullable=False, default=0),
    Column("steps", Integer, nullable=False, default=0),
    Column("step_name", Text),
    Column("summary", JSON),
    Column("result_size", Integer),
    Column("duration", Float),
    Column("submitted_wall", Float, nullable=False),  # UTC epoch, for people and expiry
    Column("ended_wall", Float),
    Index("jobs_by_turn", "state", "queue", "verify", "seq"),
    sqlite_autoincrement=True,  # a deleted job's number is never given out again
)

workers = Table(
    "workers",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("queue", String(64), primary_key=True),
    Column("boot_id", String(32), nullable=False),
    Column("alive_until", Float, nullable=False),
    Column("draining", Boolean, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("boot_id", String(32), nullable=False),
    Column("lease_until", Float, nullable=False),
)
