"""Steps are real programs here, of a few lines each."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.core.runner import StepCall, StepError, StepStopped, environment, parse_progress, run_step
from tests.unit.app.running_site import wait_for

Make = Callable[..., StepCall]
END = "(work / '_step_result.json').write_text(json.dumps({'ok': True}))"


@pytest.fixture
def make(tmp_path: Path) -> Make:
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps/__init__.py").touch()
    (tmp_path / "work").mkdir()

    def write(body: str, timeout: float = 20.0) -> StepCall:
        head = "import json, os, pathlib, subprocess, sys, time\nwork = pathlib.Path(sys.argv[1])\n"
        (tmp_path / "steps/try_it.py").write_text(head + textwrap.dedent(body))
        config = {"models": {"m": "/srv/m"}}
        return StepCall("try_it", Path(sys.executable), tmp_path, tmp_path / "work", timeout, {"a": 1}, config)

    return write


def run(
    call: StepCall, *, stop: Callable[[], bool] = lambda: False
) -> tuple[dict[str, object], list[tuple[float, str]]]:
    told: list[tuple[float, str]] = []

    def note(percent: float, text: str) -> None:
        told.append((percent, text))

    return run_step(call, log=call.code / "log", on_progress=note, stop=stop), told


def test_step_gets_options_and_config_and_tells_progress(make: Make) -> None:
    body = f"""
        assert sys.argv[2:4] == ["--options", '{{"a": 1}}']
        assert json.loads(pathlib.Path(sys.argv[5]).read_text())["models"] == {{"m": "/srv/m"}}
        print("starting"); print("[PROGRESS] 40% half way"); print("[PROGRESS]  250.5%")
        print("a warning", file=sys.stderr)
        {END}
        sys.stdout.write("no newline")
    """
    call = make(body)
    assert run(call) == ({"ok": True}, [(40.0, "half way"), (100.0, "")])
    logged = (call.code / "log").read_text()
    assert all(text in logged for text in ("starting", "a warning", "no newline"))


def test_step_that_skipped_is_no_error(make: Make) -> None:
    assert run(make("(work / '_step_result.json').write_text('{\"skipped\": true}')"))[0] == {"skipped": True}


def test_error_that_the_step_tells_is_passed_on(make: Make) -> None:
    told = "{'error_code': 'INVALID_FORMAT', 'error_message': 'not a knee'}"
    with pytest.raises(StepError, match=r"^not a knee$") as raised:
        run(make(f"(work / '_step_result.json').write_text(json.dumps({told})); sys.exit(3)"))
    assert raised.value.code == "INVALID_FORMAT"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("raise KeyError('femur')", "exit code 1.*KeyError: 'femur'"),
        ("os.kill(os.getpid(), 11)", "by signal SIGSEGV"),
        ("os.kill(os.getpid(), 9)", "killed from outside, most likely because memory ran out"),
        ("pass", "ended well but wrote no _step_result.json"),
        ("(work / '_step_result.json').write_text('{')", "ended well but wrote no"),
    ],
)
def test_crash_is_told_with_its_reason(make: Make, body: str, text: str) -> None:
    with pytest.raises(StepError, match=f"(?s){text}") as raised:
        run(make(body))
    assert raised.value.code == "PIPELINE_ERROR"


def test_result_of_an_earlier_step_does_not_count(make: Make) -> None:
    run(make(END))
    with pytest.raises(StepError, match="wrote no"):
        run(make("pass"))


def test_python_that_is_not_there_is_a_configuration_error(make: Make) -> None:
    call = make("pass")
    gone = StepCall("try_it", Path("/nowhere/python"), call.code / "nowhere", call.work, 5)
    with pytest.raises(StepError, match="could not be started") as raised:
        run(gone)
    assert raised.value.code == "CONFIG_ERROR"


FAMILY = """
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (work / "pids").write_text(f"{os.getpid()} {child.pid}")
"""


def _all_gone(work: Path) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in (work / "pids").read_text().split())


def test_timeout_kills_the_whole_process_group(make: Make) -> None:
    call = make(FAMILY + "    time.sleep(600)", timeout=1.5)
    began = time.monotonic()
    with pytest.raises(StepError, match=r"within 1\.5 s") as raised:
        run(call)
    assert raised.value.code == "TIMEOUT"
    assert time.monotonic() - began < 6
    wait_for(lambda: _all_gone(call.work), "the end of the step and its child", 5)


def test_child_that_a_step_leaves_behind_is_ended_and_not_waited_for(make: Make) -> None:
    call = make(FAMILY + f"    {END}")
    began = time.monotonic()
    assert run(call)[0] == {"ok": True}
    assert time.monotonic() - began < 10
    wait_for(lambda: _all_gone(call.work), "the end of the step's child", 5)


def test_stop_kills_the_step(make: Make) -> None:
    call = make(FAMILY + "    time.sleep(600)")
    with pytest.raises(StepStopped):
        run(call, stop=(call.work / "pids").exists)
    wait_for(lambda: _all_gone(call.work), "the end of the step and its child", 5)


def test_step_dies_with_its_worker(make: Make) -> None:
    call = make("(work / 'pids').write_text(str(os.getpid())); time.sleep(600)")
    worker = os.fork()
    if worker == 0:
        try:
            run(call)
        finally:
            os._exit(1)
    wait_for(lambda: (call.work / "pids").exists() and (call.work / "pids").read_text(), "the step's start")
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    wait_for(lambda: _all_gone(call.work), "the step's end", 5)


def test_step_sees_nothing_of_the_worker_s_environment(make: Make) -> None:
    inherited = {"CREDENTIALS_DIRECTORY": "/c", "NOTIFY_SOCKET": "/n", "PYTHONPATH": "/p", "CUDA_VISIBLE_DEVICES": "1"}
    seen = environment(make("pass"), inherited)
    assert seen["CUDA_VISIBLE_DEVICES"] == "1"
    assert not {"CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "PYTHONPATH"} & set(seen)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[PROGRESS] 40% text", (40.0, "text")),
        ("  [PROGRESS] 7.5%\n", (7.5, "")),
        ("[PROGRESS] 999% x", (100.0, "x")),
        ("[PROGRESS] -1% x", None),
        ("progress 40%", None),
    ],
)
def test_parse_progress(line: str, told: tuple[float, str] | None) -> None:
    assert parse_progress(line) == told
