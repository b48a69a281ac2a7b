"""One deploy of a stack at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from farrier_host.release import lock
from farrier_host.release.files import Refused
from farrier_host.release.layout import Layout

HOLDER = """
import sys, time
from pathlib import Path
from farrier_host.release import lock
from farrier_host.release.layout import Layout
with lock.hold(Layout(Path(sys.argv[1])), "knee", "anna@desk", "deploy of 1"):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_one_is_refused_and_told_who_is_at_it(tmp_path: Path) -> None:
    first = holder(tmp_path)
    with pytest.raises(Refused, match=rf"knee: anna@desk is at it since .*UTC \(deploy of 1, PID {first.pid}\)"):
        lock.hold(Layout(tmp_path), "knee", "bob@desk", "rollback").__enter__()
    with lock.hold(Layout(tmp_path), "hello", "bob@desk", "rollback"):
        pass  # another stack's is free
    first.kill()
    first.wait()


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    first = holder(tmp_path)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    with lock.hold(Layout(tmp_path), "knee", "bob@desk", "rollback"):
        pass
    with lock.hold(Layout(tmp_path), "knee", "bob@desk", "again"):
        pass
