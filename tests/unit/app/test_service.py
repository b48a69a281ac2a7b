"""What a process waits for when it starts, and what it does not."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from app.core import service
from app.core.ledger import LedgerMismatch
from app.core.ledger.sqlite import FILE
from app.core.service import await_service
from tests.unit.app.running_site import knee_pipeline, site_environment, wait_for


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(service, "AGAIN", 0.05)
    return site_environment(tmp_path, knee_pipeline())


def test_start_waits_for_a_ledger_that_cannot_be_opened_just_now(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    opened = threading.Event()

    def open_it() -> None:
        await_service(environment).database.close()
        opened.set()

    with sqlite3.connect(Path(environment["FARRIER_STATE"]) / "ledger" / FILE) as holder:
        holder.execute("PRAGMA locking_mode=EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        threading.Thread(target=open_it, daemon=True).start()
        said = "the ledger cannot be opened (database is locked); trying again"
        wait_for(lambda: said in caplog.messages, said)
        assert not opened.is_set()
    holder.close()
    assert opened.wait(10)


def test_start_does_not_wait_for_a_ledger_that_is_not_there(environment: dict[str, str]) -> None:
    (Path(environment["FARRIER_STATE"]) / "ledger" / FILE).unlink()
    with pytest.raises(LedgerMismatch):
        await_service(environment)
