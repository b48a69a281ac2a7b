"""The ledger's tables. Times named `*_at` without more are seconds since the boot in the same row's `boot_id`."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text, false

SCHEMA = "0003"  # the newest migration in versions/, which these tables are the result of

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
    Column("ended_seq", Integer),  # the order of ends, which no clock can disturb
    Column("cancel_requested", Boolean, nullable=False, server_default=false()),
    Column("keep_input", Boolean, nullable=False, server_default=false()),
    Column("input_dropped_wall", Float),  # when the original was deleted
    Column("expires_wall", Float),  # when the job's files are to be deleted; set as it ends
    Column("expired_wall", Float),  # when they were
    Column("email", Text),  # until the mail went out
    Column("mailed_wall", Float),
    Column("client", Text),  # salted hash of the address that the job came from
    Index("jobs_by_turn", "state", "queue", "verify", "seq"),
    Index("jobs_by_end", "queue", "state", "verify", "ended_seq"),
    sqlite_autoincrement=True,  # a deleted job's number is never given out again
)

# Every try at a job. Nothing but people reads it.
attempts = Table(
    "attempts",
    metadata,
    Column("job_id", String(32), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("release", String(128), nullable=False),
    Column("began_wall", Float, nullable=False),
    Column("ended_wall", Float),
    Column("outcome", String(16)),  # done, failed, cancelled, lost, displaced; none while it runs
    Column("error_code", String(64)),
    Column("duration", Float),
)

# Every step that an attempt began.
steps = Table(
    "steps",
    metadata,
    Column("job_id", String(32), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),  # from 1
    Column("name", Text, nullable=False),
    Column("began_wall", Float, nullable=False),
    Column("duration", Float),
    Column("outcome", String(16)),  # done, skipped, failed; none while it runs, and where its attempt was cut short
)

workers = Table(
    "workers",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("queue", String(64), primary_key=True),
    Column("boot_id", String(32), nullable=False),
    Column("alive_until", Float, nullable=False),
    Column("draining", Boolean, nullable=False),
    Column("waiting", Text),  # what keeps it from taking a job, in words for people
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("boot_id", String(32), nullable=False),
    Column("lease_until", Float, nullable=False),
)
