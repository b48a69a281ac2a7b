"""Steps are real programs here, of a few lines each."""

from __future__ import annotations

import json
import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.core.joblog import JobLog
from app.core.runner import StepStopped, run_step
from app.core.step import StepCall, StepError, environment, parse_progress
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


def run(call: StepCall, *, stop: Callable[[], bool] = lambda: False) -> tuple[dict[str, Any], list[tuple[float, str]]]:
    told: list[tuple[float, str]] = []

    def note(percent: float, text: str) -> None:
        told.append((percent, text))

    return run_step(call, log=call.work.parent / "log", on_progress=note, stop=stop), told


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


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"python": Path("/nowhere/python")}, "/nowhere/python cannot be run: No such file"),
        ({"code": Path("/nowhere")}, "could not be started: .*/nowhere"),
        ({"name": "no_such"}, "names the step no_such, and .* has no such program"),
    ],
)
def test_step_that_is_not_there_is_a_configuration_error(make: Make, changed: dict[str, Any], text: str) -> None:
    with pytest.raises(StepError, match=f"(?s){text}") as raised:
        run(replace(make("pass"), error="SEGMENTATION_FAILED", **changed))
    assert raised.value.code == "CONFIG_ERROR"


TORCH = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB"
TENSORFLOW = (
    "tensorflow.python.framework.errors_impl.ResourceExhaustedError: Graph execution error: OOM when allocating tensor "
    "with shape[64,512,128,128] and type float on /job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc"
)
HARMLESS = "GPU_0_bfc: RESOURCE_EXHAUSTED: Out of memory; the caller indicates that this is not a failure"


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (f"print({TORCH!r}, file=sys.stderr); sys.exit(1)", "GPU_OOM", "more memory than the GPU has free"),
        (f"print({TENSORFLOW!r}, file=sys.stderr); sys.exit(1)", "GPU_OOM", "more memory than the GPU has free"),
        (f"print({TENSORFLOW.replace('GPU', 'CPU')!r}, file=sys.stderr); sys.exit(1)", "PIPELINE_ERROR", "memory ran"),
        (f"print({HARMLESS!r}, file=sys.stderr); sys.exit(1)", "SEGMENTATION_FAILED", "exit code 1"),
        ("raise MemoryError", "PIPELINE_ERROR", "ended because memory ran out"),
        (
            "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**28, 2**28)); bytes(2**30)",
            *("PIPELINE_ERROR", "ended because memory ran out"),
        ),
        ("subprocess.run(['sh', '-c', 'kill -9 $$'], check=True)", "SEGMENTATION_FAILED", "exit code 1"),
        ("os.execv('/bin/sh', ['sh', '-c', \"sh -c 'kill -9 $$'; exit $?\"])", "PIPELINE_ERROR", "killed from outside"),
        ("sys.exit(3)", "DICOM_ERROR", "exit code 3"),
        ("sys.exit(4)", "SEGMENTATION_FAILED", "exit code 4"),
    ],
)
def test_end_of_a_step_has_its_code(make: Make, body: str, code: str, text: str) -> None:
    call = replace(make(body), error="SEGMENTATION_FAILED", exit_codes={3: "DICOM_ERROR"})
    with pytest.raises(StepError, match=f"(?s){text}") as raised:
        run(call)
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"error_code": "NSM_FAILED", "error_message": "no bone"}, "NSM_FAILED"),
        ({"error_message": "CUDA out of memory in fold 3"}, "GPU_OOM"),
        ({"error_code": "what went wrong?", "error_message": "x"}, "PIPELINE_ERROR"),
        ({"error_message": "x"}, "SEGMENTATION_FAILED"),
    ],
)
def test_code_that_the_step_tells_comes_first(make: Make, told: dict[str, str], code: str) -> None:
    body = f"(work / '_step_result.json').write_text(json.dumps({told})); sys.exit(1)"
    with pytest.raises(StepError, match=f"^{told['error_message']}$") as raised:
        run(replace(make(body), error="SEGMENTATION_FAILED"))
    assert raised.value.code == code


def test_variables_are_the_step_s_alone(make: Make) -> None:
    body = """
        result = {"mine": os.environ["LD_LIBRARY_PATH"], "all": sorted(os.environ)}
        (work / "_step_result.json").write_text(json.dumps(result))
    """
    # With a library folder of another env the launcher's own Python might not even start.
    result, _ = run(replace(make(body), environment={"LD_LIBRARY_PATH": "/other env/lib=x"}))
    assert result["mine"] == "/other env/lib=x"
    expected = {"HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR"}
    assert {name for name in result["all"] if not name.startswith(("PYTHON", "CUDA", "TZ", "LC_"))} == expected


def test_program_of_another_form_gets_what_its_command_says(make: Make) -> None:
    call = make("pass")
    (call.code / "run_pipeline.py").write_text(
        "import json, pathlib, sys\npathlib.Path(sys.argv[2], 'seen').write_text(json.dumps(sys.argv[1:]))\n"
    )
    words = ("run_pipeline.py", "{input}", "{output}", "{option.model}", "--nsm={option.nsm}", "--config", "{config}")
    config = {"input": str(call.work / "input.nii"), "output": str(call.work)}
    call = replace(call, command=words, options={"model": "a b", "nsm": True}, config=config)
    assert run(call)[0] == {}
    seen = json.loads((call.work / "seen").read_text())
    assert seen == [config["input"], config["output"], "a b", "--nsm=true", "--config", str(call.work / "_config.json")]


def test_log_tells_the_call_the_output_and_the_end_and_does_not_grow_without_end(make: Make) -> None:
    call = make(f"print('x' * 1000)\nfor n in range(20): print('y' * 100)\n{END}")
    log = JobLog(call.work.parent / "small", largest=2000)
    for n in range(30):
        log.write(f"{n} " + "z" * 98)
    log.mark("step end")
    log.close()
    text = (call.work.parent / "small").read_text()
    assert len(text) < 2300
    assert text.count("the log is full") == 1
    assert text.rstrip().endswith("step end")
    run(call)
    first, *_, last = (call.work.parent / "log").read_text().splitlines()
    assert f"step try_it: {sys.executable}" in first
    assert "step try_it: exit code 0 after" in last


FAMILY = """
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (work / "pids").write_text(f"{os.getpid()} {child.pid}")
"""


def _all_gone(work: Path) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in (work / "pids").read_text().split())


def test_timeout_kills_the_whole_process_group(make: Make) -> None:
    call = make(FAMILY + "    time.sleep(600)", timeout=5)
    began = time.monotonic()
    with pytest.raises(StepError, match=r"within 5 s") as raised:
        run(call)
    assert raised.value.code == "TIMEOUT"
    assert time.monotonic() - began < 60
    wait_for(lambda: _all_gone(call.work), "the end of the step and its child")


def test_child_that_a_step_leaves_behind_is_ended_and_not_waited_for(make: Make) -> None:
    call = make(FAMILY + f"    {END}")
    began = time.monotonic()
    assert run(call)[0] == {"ok": True}
    assert time.monotonic() - began < 60
    wait_for(lambda: _all_gone(call.work), "the end of the step's child")


DESERTER = """
    code = "import os, time; os.setsid(); os.fork() and os._exit(0); print(os.getpid(), flush=True); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    (work / "pids").write_text(f"{os.getpid()} {int(child.stdout.readline())}")
"""


@pytest.mark.parametrize("then", ["time.sleep(600)", "os.kill(os.getpid(), 9)", END])
def test_child_that_left_the_process_group_is_gone_when_the_step_is(make: Make, then: str) -> None:
    call = make(DESERTER + f"    {then}")
    began = time.monotonic()
    with suppress(StepStopped, StepError):
        run(call, stop=(call.work / "pids").exists)
    assert _all_gone(call.work)
    assert time.monotonic() - began < 60


def test_stop_kills_the_step(make: Make) -> None:
    call = make(FAMILY + "    time.sleep(600)")
    with pytest.raises(StepStopped):
        run(call, stop=(call.work / "pids").exists)
    wait_for(lambda: _all_gone(call.work), "the end of the step and its child")


def test_step_dies_with_its_worker_and_takes_its_children_along(make: Make) -> None:
    call = make(DESERTER + "    time.sleep(600)")
    worker = os.fork()
    if worker == 0:
        try:
            run(call)
        finally:
            os._exit(1)
    wait_for(lambda: (call.work / "pids").exists() and (call.work / "pids").read_text(), "the step's start")
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    wait_for(lambda: _all_gone(call.work), "the step's end")


def test_step_sees_nothing_of_the_worker_s_environment(make: Make) -> None:
    inherited = {"CREDENTIALS_DIRECTORY": "/c", "NOTIFY_SOCKET": "/n", "PYTHONPATH": "/p"}
    cards = {"CUDA_VISIBLE_DEVICES": "GPU-7c1e", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    seen = environment(make("pass"), inherited | cards)
    assert {name: seen[name] for name in cards} == cards
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
