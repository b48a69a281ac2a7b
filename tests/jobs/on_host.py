"""Runs on the host as the stack's user: `on_host.py STATE watch | busy | working | found SEQ | waits SEQ`."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NOW = "(julianday('now') - 2440587.5) * 86400.0"
# Triggers belong to the transaction that changes the row: what they note is what was committed.
_WATCH = f"""
CREATE TABLE IF NOT EXISTS moves (n INTEGER PRIMARY KEY, job TEXT, old TEXT, new TEXT, attempt INTEGER, at REAL);
CREATE TRIGGER IF NOT EXISTS came AFTER INSERT ON jobs BEGIN
  INSERT INTO moves (job, old, new, attempt, at) VALUES (NEW.id, '', NEW.state, NEW.attempt, {_NOW});
END;
CREATE TRIGGER IF NOT EXISTS moved AFTER UPDATE OF state ON jobs WHEN OLD.state <> NEW.state BEGIN
  INSERT INTO moves (job, old, new, attempt, at) VALUES (NEW.id, OLD.state, NEW.state, NEW.attempt, {_NOW});
END;
"""


_BUSY = "SELECT id, state, attempt, owner, pipeline FROM jobs WHERE state IN ('queued', 'running')"
_LOOK = 0.02  # seconds
_PATIENCE = 60.0


def main(state: Path, what: str, after: int = 0) -> Any:
    """What was asked, as JSON can say it."""
    ledger = sqlite3.connect(state / "ledger" / "ledger.sqlite", timeout=15)
    ledger.row_factory = sqlite3.Row
    if what == "watch":
        ledger.executescript(_WATCH)
        return ledger.execute("SELECT coalesce(max(seq), 0) FROM jobs").fetchone()[0]
    if what == "busy":
        return [dict(row) for row in ledger.execute(_BUSY)]
    if what == "working":
        return _working(ledger)
    if what == "waits":
        return list(_waits(ledger, after))
    return _found(ledger, state, after)


def _waits(ledger: sqlite3.Connection, after: int) -> Iterator[tuple[float, bool]]:
    """Of each job: seconds until its first attempt began, and whether the worker of that started later than it came."""
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    query = """SELECT submitted_wall, began_wall, attempts.owner FROM jobs JOIN attempts ON job_id = id
        WHERE seq > ? AND attempts.attempt = 1"""
    for came, began, owner in ledger.execute(query, [after]):
        started = booted + int(owner.split()[2]) / os.sysconf("SC_CLK_TCK")
        yield began - came, started > came


def _working(ledger: sqlite3.Connection) -> dict[str, Any]:
    """A job in the middle of its step, in its first attempt: its id, its worker, and the process that holds it."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        row = ledger.execute(f"{_BUSY} AND step > 0 AND attempt = 1 AND state = 'running'").fetchone()
        if row:
            worker, pid, *_ = row["owner"].split()
            return {"job": row["id"], "worker": worker, "pid": int(pid)}
        time.sleep(_LOOK)
    raise SystemExit(f"no job was in a step for {_PATIENCE:g} s")


def _found(ledger: sqlite3.Connection, state: Path, after: int) -> dict[str, Any]:
    rows = [
        {key: row[key] for key in ("id", "state", "attempt")} | {"error": row["error_message"] or ""}
        for row in ledger.execute("SELECT id, state, attempt, error_message FROM jobs WHERE seq > ?", [after])
    ]
    query = """SELECT job, old, new, moves.attempt, at FROM moves JOIN jobs ON jobs.id = job WHERE seq > ? ORDER BY n"""
    ours = {row["id"] for row in rows}
    others = {row[0] for row in ledger.execute("SELECT id FROM jobs WHERE seq <= ?", [after])}
    files = (path for path in state.glob("results/*/*/*") if path.parts[-3] not in others)
    return {
        "rows": rows,
        "moves": [dict(row) for row in ledger.execute(query, [after])],
        "results": [
            {"job": path.parts[-3], "attempt": int(path.parts[-2]), "text": _text(path)} for path in sorted(files)
        ],
        "left": sorted({path.parts[-2] for path in state.glob("work/*/[0-9]*")} & ours),
    }


def _text(path: Path) -> str:
    if path.name != "result.zip":
        return f"a file {path.name}"
    with zipfile.ZipFile(path) as archive:
        return " ".join(archive.read(name).decode() for name in archive.namelist())


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))))
