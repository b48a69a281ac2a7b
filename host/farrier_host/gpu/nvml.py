"""NVIDIA's management library, as much of it as is read here; by ctypes, so that a host needs no package of ours.

Structures and numbers are those of nvml.h. The functions with `_v3` are there since driver 510.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from ctypes import Structure, byref, c_char_p, c_int, c_uint, c_ulonglong, c_void_p
from typing import Any, TypeVar

MISMATCH = 18  # NVML_ERROR_LIB_RM_VERSION_MISMATCH
NOT_LOADED = 9  # NVML_ERROR_DRIVER_NOT_LOADED
LOST = 15  # NVML_ERROR_GPU_IS_LOST
RESET_REQUIRED = 16  # NVML_ERROR_RESET_REQUIRED
_TOO_SMALL = 7  # NVML_ERROR_INSUFFICIENT_SIZE
_UNKNOWN = 2**64 - 1  # NVML_VALUE_NOT_AVAILABLE
_Told = TypeVar("_Told")
_ROOM = 64  # processes on a card at first


class _Process(Structure):
    _fields_ = (("pid", c_uint), ("memory", c_ulonglong), ("instance", c_uint), ("compute_instance", c_uint))


class _Memory(Structure):
    _fields_ = (("total", c_ulonglong), ("free", c_ulonglong), ("used", c_ulonglong))


class _Utilisation(Structure):
    _fields_ = (("gpu", c_uint), ("memory", c_uint))


class NvmlError(Exception):
    """An answer that is none: NVML's code and words."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} (NVML code {code})")
        self.code = code


class Nvml:
    """The library, loaded. Raises OSError when it is not installed."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libnvidia-ml.so.1")
        self._library.nvmlErrorString.restype = c_char_p

    def ask(self, name: str, *arguments: Any) -> None:
        """Call one function. Raises NvmlError."""
        self._judge(getattr(self._library, name)(*arguments))

    def _judge(self, code: int) -> None:
        if code:
            raise NvmlError(code, self._library.nvmlErrorString(code).decode(errors="replace"))

    def text(self, name: str, *arguments: Any) -> str:
        """Call a function that answers with a text."""
        found = ctypes.create_string_buffer(96)
        self.ask(name, *arguments, found, c_uint(len(found)))
        return found.value.decode(errors="replace")

    def number(self, name: str, *arguments: Any) -> int:
        """Call a function that answers with a number."""
        found = c_uint()
        self.ask(name, *arguments, byref(found))
        return found.value

    def processes(self, name: str, device: c_void_p) -> list[_Process]:
        """Call a function that lists processes."""
        room = _ROOM
        while True:
            count, found = c_uint(room), (_Process * room)()
            code = getattr(self._library, name)(device, byref(count), found)
            if code != _TOO_SMALL:
                self._judge(code)
                return list(found[: count.value])
            room = 2 * max(room, count.value)


def read(cards: Iterable[str]) -> dict[str, Any]:
    """Ask for everything once: `libraries`, `error` ({code, text}, or None), `cards` (by PCI address); sizes in bytes.

    By address, because NVML's own list loses the cards that it cannot reach, and they are to be told by name. A library
    that is not installed is an error without a code.
    """
    answer: dict[str, Any] = {"libraries": None, "error": None, "cards": []}
    try:
        nvml = Nvml()
    except OSError as error:
        return answer | {"error": {"code": None, "text": str(error)}}
    try:
        # "12.535.309.01": the first number is CUDA's. It is told also where nothing else is.
        version = _optional(lambda: nvml.text("nvmlSystemGetNVMLVersion"))
        answer["libraries"] = version.partition(".")[2] if version else None
        nvml.ask("nvmlInit_v2")
        answer["cards"] = [_card(nvml, pci) for pci in cards]
    except NvmlError as error:
        answer["error"] = {"code": error.code, "text": str(error)}
    return answer


def _card(nvml: Nvml, pci: str) -> dict[str, Any]:
    """One card; where it does not answer, `error`."""
    device = c_void_p()
    try:
        nvml.ask("nvmlDeviceGetHandleByPciBusId_v2", pci.encode(), byref(device))
        return {"pci": pci, "error": None} | _facts(nvml, device)
    except NvmlError as error:
        return {"pci": pci, "error": {"code": error.code, "text": str(error)}}


def _facts(nvml: Nvml, device: c_void_p) -> dict[str, Any]:
    memory, major, minor = _Memory(), c_int(), c_int()
    nvml.ask("nvmlDeviceGetMemoryInfo", device, byref(memory))
    nvml.ask("nvmlDeviceGetCudaComputeCapability", device, byref(major), byref(minor))
    return {
        "uuid": nvml.text("nvmlDeviceGetUUID", device),
        "model": nvml.text("nvmlDeviceGetName", device),
        "minor": nvml.number("nvmlDeviceGetMinorNumber", device),
        "capability": f"{major.value}.{minor.value}",
        "memory": {"total": memory.total, "used": memory.used, "free": memory.free},
        "utilisation": _optional(lambda: _utilisation(nvml, device)),
        "processes": _processes(nvml, device),
    }


def _utilisation(nvml: Nvml, device: c_void_p) -> int:
    found = _Utilisation()
    nvml.ask("nvmlDeviceGetUtilizationRates", device, byref(found))
    return int(found.gpu)


def _optional(ask: Callable[[], _Told]) -> _Told | None:
    """What not every card and every library can tell."""
    try:
        return ask()
    except NvmlError:
        return None


def _processes(nvml: Nvml, device: c_void_p) -> list[dict[str, Any]]:
    """Those that compute and those that draw; one that does both is in both lists with the same memory."""
    found: dict[int, int | None] = {}
    for kind in ("Compute", "Graphics"):
        try:
            listed = nvml.processes(f"nvmlDeviceGet{kind}RunningProcesses_v3", device)
        except NvmlError as error:
            if error.code == LOST:
                raise
            continue  # a card split by MIG lists none as a whole
        for each in listed:
            memory = None if each.memory == _UNKNOWN else int(each.memory)
            found[int(each.pid)] = max(found.get(int(each.pid)) or 0, memory or 0) or memory
    return [{"pid": pid, "memory": memory} for pid, memory in sorted(found.items())]
