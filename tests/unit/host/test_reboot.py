"""What whoever reboots is told of running jobs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from farrier_host.reboot import watch
from farrier_host.reboot.jobs import going_down, planned, reason, running
from farrier_host.reboot.locks import mode
from farrier_host.release.layout import Layout

ONE = {"demo-worker@0.service": "4711"}
MANY = {f"demo-worker@{number}.service": "1" for number in range(5)}


@pytest.mark.parametrize("tell", [going_down, planned])
def test_everybody_is_told_what_runs_and_whom_to_ask(tell: object) -> None:
    assert callable(tell)
    told = tell(ONE, "unicorn", "the lab")
    assert "unicorn" in told
    assert "1 job runs (demo-worker@0)" in told
    assert "Ask the lab." in told


def test_the_lock_says_who_is_asked_and_how_one_reboots_all_the_same() -> None:
    assert reason(ONE, "the lab").startswith("1 job runs (demo-worker@0); ask the lab.")
    assert "systemctl reboot -i" in reason(ONE, "")
    assert "ask who deployed them" in reason(ONE, "")


def test_many_jobs_do_not_fill_the_terminal() -> None:
    assert running(MANY) == "5 jobs run (demo-worker@0, demo-worker@1, demo-worker@2 and 2 more)"


@pytest.mark.parametrize(
    ("version", "has_polkit", "expected"),
    [(252, False, "block"), (257, True, "block"), (257, False, "block-weak")],
)
def test_reboot_i_is_never_locked_out(version: int, expected: str, *, has_polkit: bool) -> None:
    assert mode(version, has_polkit=has_polkit) == expected


class Busy:
    """Workers that have a job in hand."""

    def busy(self) -> dict[str, str]:
        return ONE


def test_a_host_without_logind_is_not_asked_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, calls = tmp_path / "systemd-inhibit", tmp_path / "calls"
    program.write_text(f"#!/bin/sh\necho called >>{calls}\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(watch, "_PAUSE", 0.2)
    guard = watch.Guard(Layout(tmp_path))
    monkeypatch.setattr(guard, "workers", Busy())
    begun = time.monotonic()
    for _ in range(4):
        guard.look()
    guard.release()
    assert calls.read_text() == "called\n"
    assert time.monotonic() - begun > 0.4, "it looks without a pause"
