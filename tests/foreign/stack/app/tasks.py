"""A plain Celery program: it knows nothing of Farrier, and its settings are Celery's own."""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery import Celery

app = Celery("tasks")
NOTES = Path("/var/lib/farrier/foreign/notes")


@app.task
def work(name: str, seconds: float) -> None:
    """Take that long; notes begin and end in the file of that name."""
    NOTES.mkdir(exist_ok=True)
    with (NOTES / name).open("a") as notes:
        print("began", os.getpid(), file=notes, flush=True)
        time.sleep(seconds)
        print("ended", os.getpid(), file=notes, flush=True)
