"""A step as it is called, and what its end means: nothing here starts a process."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESULT = "_step_result.json"
CONFIG = "_config.json"
TOLD_LINES = 12  # of stderr, told with an error
LAUNCH = Path(__file__).with_name("launch.py")
PROGRESS = re.compile(r"\[PROGRESS\]\s+(\d{1,3}(?:\.\d+)?)%\s*(.*)")
CODE = re.compile(r"[A-Z][A-Z0-9_]{1,39}")
GENERAL = "PIPELINE_ERROR"
CANNOT_RUN = 127

# What torch, TensorFlow, JAX, CuPy and the driver say when a card has no memory left.
GPU_FULL = re.compile(
    r"(CUDA|HIP|GPU) out of memory|CUDA(_ERROR_| error: )OUT_OF_MEMORY|torch(\.cuda)?\.OutOfMemoryError"
    r"|CUDA error: out of memory|cudaErrorMemoryAllocation|CU(BLAS|DNN|SOLVER)_STATUS_ALLOC_FAILED"
    r"|OOM when allocating tensor.*\bGPU|RESOURCE_EXHAUSTED: Out of memory|cupy\.cuda\.memory\.OutOfMemoryError",
    re.IGNORECASE,
)
MEMORY_FULL = re.compile(
    r"^(\w+\.)*_?\w*MemoryError\b|std::bad_alloc|Cannot allocate memory|DefaultCPUAllocator: can't allocate memory"
    r"|OOM when allocating tensor.*\bCPU"
)
NOT_MEANT = re.compile(r"not a failure")  # TensorFlow says so of an allocation that it can do without
NO_SUCH_STEP = re.compile(r"No module named '?steps(\.|'|$)")


class StepError(Exception):
    """A step failed; `code` is one of the site's error codes."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class StepCall:
    """One step to run: in which env and code, over which work folder, with what. Times are seconds.

    `late` is what the user is told when `timeout` is over. `command` is what Python gets instead of the module
    `steps.<name>`; such a program need not know of the result file.
    """

    name: str
    python: Path
    code: Path
    work: Path
    timeout: float
    options: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    error: str = GENERAL
    exit_codes: Mapping[int, str] = field(default_factory=dict)
    command: Sequence[str] = ()
    late: str = ""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a step ended: exit code (negative: a signal), its last lines, and how often memory ran out meanwhile."""

    code: int
    lines: Sequence[str] = ()
    errors: Sequence[str] = ()
    out_of_memory: int = 0


KEPT = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "TZ")  # which cards are the unit's, and the host's time zone


def environment(call: StepCall, inherited: Mapping[str, str]) -> dict[str, str]:
    """What the launcher gets: none of the worker's variables. It is no wall: a step runs as the same user."""
    kept = {name: inherited[name] for name in KEPT if name in inherited}
    return kept | {
        "PATH": f"{call.python.parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(call.work),
        "TMPDIR": str(call.work / "tmp"),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
    }


def command(call: StepCall, parent: int) -> list[str]:
    """The command line: the launcher, and behind `--` the step."""
    launcher = [sys.executable, "-I", "-S", str(LAUNCH), str(parent)]
    variables = [f"{name}={value}" for name, value in call.environment.items()]
    return [*launcher, *variables, "--", str(call.python), *arguments(call)]


def arguments(call: StepCall) -> list[str]:
    """What the step's Python gets."""
    options, config = json.dumps(dict(call.options)), str(call.work / CONFIG)
    if not call.command:
        return ["-m", f"steps.{call.name}", str(call.work), "--options", options, "--config", config]
    words = {"work": str(call.work), "config": config, "options": options}
    words |= {name: str(call.config.get(name, "")) for name in ("input", "output")}
    words |= {f"option.{name}": _word(value) for name, value in call.options.items()}
    return [re.sub(r"\{([\w.]+)\}", lambda found: words.get(found[1], found[0]), text) for text in call.command]


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse_progress(line: str) -> tuple[float, str] | None:
    """Percent and text of a progress line, or None for any other line."""
    match = PROGRESS.match(line.strip())
    return (min(100.0, float(match[1])), match[2].strip()) if match else None


def limit(name: str, timeout: float, whole: float, elapsed: float) -> tuple[float, str]:
    """The seconds that a step may take and what is told after them: its own limit, or what is left of the job's."""
    left = whole - elapsed
    if left < timeout:
        return left, f"The job did not end within {whole:g} s and was stopped in step {name}."
    return timeout, f"Step {name} did not end within {timeout:g} s and was stopped."


def read_result(call: StepCall) -> dict[str, Any] | None:
    """The JSON object that the step left, or None."""
    try:
        result = json.loads((call.work / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) else None


def judge(call: StepCall, ending: Ending, result: dict[str, Any] | None) -> dict[str, Any]:
    """The result of a step that ended by itself; raises the StepError that says why there is none."""
    if ending.code == 0 and (result is not None or call.command):
        return result or {}
    told = result or {}
    if "error_message" in told:
        raise StepError(_code(call, ending, told), str(told["error_message"]))
    raise StepError(_code(call, ending, told), _why(call, ending))


def _code(call: StepCall, ending: Ending, told: Mapping[str, Any]) -> str:
    """The step's own word counts most, then what its last lines give away, then what the pipeline declares."""
    own = str(told.get("error_code", ""))
    if CODE.fullmatch(own) and own != GENERAL:
        return own
    if _says(GPU_FULL, [str(told.get("error_message", "")), *ending.lines]):
        return "GPU_OOM"
    if ending.code == CANNOT_RUN or _no_such_step(call, ending):
        return "CONFIG_ERROR"
    if own or _memory_ran_out(ending):
        return GENERAL  # it is the site's memory that failed, whatever the step does
    return call.exit_codes.get(ending.code, call.error)


def _says(pattern: re.Pattern[str], lines: Iterable[str]) -> bool:
    return any(pattern.search(line) and not NOT_MEANT.search(line) for line in lines)


def _no_such_step(call: StepCall, ending: Ending) -> bool:
    return not call.command and _says(NO_SUCH_STEP, ending.errors)


def _killed(code: int) -> bool:
    return code in (-signal.SIGKILL, 128 + signal.SIGKILL)  # the latter is what a shell makes of it


def _memory_ran_out(ending: Ending) -> bool:
    return ending.out_of_memory > 0 or _killed(ending.code) or _says(MEMORY_FULL, ending.errors)


def _why(call: StepCall, ending: Ending) -> str:
    errors = [line for line in ending.errors if line.strip()][-TOLD_LINES:]
    if ending.code == 0:
        return f"Step {call.name} ended well but wrote no {RESULT}."
    if _no_such_step(call, ending):
        return f"The pipeline names the step {call.name}, and {call.code} has no such program; mend the stack file."
    if _says(GPU_FULL, ending.lines):
        first = f"Step {call.name} needs more memory than the GPU has free."
    elif ending.out_of_memory or _says(MEMORY_FULL, ending.errors):
        first = f"Step {call.name} was ended because memory ran out."
    elif _killed(ending.code):
        first = f"Step {call.name} was killed from outside, most likely because memory ran out."
    elif ending.code < 0:
        first = f"Step {call.name} ended by signal {_signal(-ending.code)}."
    else:
        first = f"Step {call.name} ended with exit code {ending.code}."
    return "\n".join([first, *errors])


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def memory_kills() -> int:
    """How often the kernel killed something in this process's cgroup for want of memory; 0 where nobody counts."""
    try:
        path = Path("/proc/self/cgroup").read_text(encoding="ascii").partition("0::")[2].strip()
        events = Path(f"/sys/fs/cgroup{os.path.normpath(path)}/memory.events").read_text(encoding="ascii")
        counts = dict(line.split() for line in events.splitlines())
    except (OSError, ValueError):
        return 0
    return int(counts.get("oom_kill", 0))
