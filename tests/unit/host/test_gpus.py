"""The cards of a host: what is decided about them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.core.gpu.state import State
from farrier_host.gpu import check, prometheus, show
from farrier_host.gpu.check import Hardware, Unit, Wanted, decide
from farrier_host.gpu.driver import Shown, loaded_version, shown_cards
from farrier_host.gpu.kernel import Xids
from farrier_host.gpu.places import Places, pci_address
from farrier_host.gpu.processes import place_of
from farrier_host.gpu.state import Seen, state_of
from tests.gpu.world import A10, GIB, LOST, MISMATCH, SECOND_T4, T4, Card, World, put

NODES = frozenset({"nvidia0", "nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm"})
ALLOWED = frozenset({"/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"})
UNIT = Unit("knee-worker@0.service", "closed", ALLOWED, private_devices=False)
WANTED = [Wanted(0, T4.pci)]


def shown(*cards: Card) -> dict[str, Shown]:
    return {card.pci: Shown(card.pci, card.uuid, card.minor, card.model) for card in cards}


HARDWARE = Hardware("535.309.01", shown(T4, A10), frozenset({T4.pci, A10.pci}), NODES)


@pytest.mark.parametrize(("is_open", "version"), [(False, "535.309.01"), (True, "580.95.05"), (False, "550.163")])
def test_version_is_read_from_both_flavours_of_the_module(tmp_path: Path, is_open: bool, version: str) -> None:
    put(tmp_path, World((T4, A10), driver=version, is_open=is_open))
    assert loaded_version(Places(proc=tmp_path / "proc")) == version


def test_cards_are_read_by_address_and_one_that_sleeps_has_no_uuid(tmp_path: Path) -> None:
    sleeping = replace(A10, uuid="GPU-????????-????-????-????-????????????")
    put(tmp_path, World((T4, sleeping)))
    found = shown_cards(Places(proc=tmp_path / "proc"))
    assert found[T4.pci] == shown(T4)[T4.pci]
    assert found[A10.pci].uuid == ""


def test_no_driver_is_no_version_and_no_cards(tmp_path: Path) -> None:
    assert loaded_version(Places(proc=tmp_path)) is None
    assert shown_cards(Places(proc=tmp_path)) == {}


@pytest.mark.parametrize("text", ["0000:3b:00.0", "00000000:3B:00.0", " 0000:3B:00.0 "])
def test_an_address_has_one_form(text: str) -> None:
    assert pci_address(text) == "0000:3b:00.0"


def test_a_unit_with_its_own_card_may_start() -> None:
    assert decide(UNIT, WANTED, HARDWARE) == []


def moved(card: Card, minor: int) -> Hardware:
    return replace(HARDWARE, shown=shown(replace(card, minor=minor), A10))


@pytest.mark.parametrize(
    ("unit", "hardware", "says", "remedy"),
    [
        (UNIT, replace(HARDWARE, loaded=None), "module is not loaded", "modprobe nvidia"),
        (
            UNIT,
            replace(HARDWARE, shown=shown(SECOND_T4), on_bus=frozenset()),
            SECOND_T4.pci,
            "farrier_gpus of this host",
        ),
        (UNIT, replace(HARDWARE, shown=shown(A10)), "the driver has not taken it", "dmesg"),
        (UNIT, moved(T4, 1), "is /dev/nvidia1 now, but knee-worker@0.service may use /dev/nvidia0", "`minor: 1`"),
        (UNIT, replace(HARDWARE, nodes=NODES - {"nvidia0"}), "would see no /dev/nvidia0", "nvidia-modprobe -c 0 -u"),
        (UNIT, replace(HARDWARE, nodes=NODES - {"nvidia-uvm"}), "would see no /dev/nvidia-uvm", "nvidia-modprobe"),
        (replace(UNIT, private_devices=True), HARDWARE, "would see no /dev/nvidia*", "drop-in"),
        (replace(UNIT, policy="auto"), HARDWARE, "could use every card", "drop-in"),
        (replace(UNIT, allowed=ALLOWED - {"/dev/nvidia-uvm"}), HARDWARE, "may not use /dev/nvidia-uvm", "deploy"),
        (replace(UNIT, allowed=ALLOWED | {"/dev/nvidia2"}), HARDWARE, "may use /dev/nvidia2 too", "deploy"),
        (replace(UNIT, allowed=ALLOWED | {"char-nvidia"}), HARDWARE, "may use char-nvidia too", "deploy"),
    ],
)
def test_a_unit_is_refused_with_the_remedy(unit: Unit, hardware: Hardware, says: str, remedy: str) -> None:
    (told,) = decide(unit, WANTED, hardware)
    assert says in told
    assert remedy in told


def test_variables_name_the_cards_by_uuid_in_the_plans_order(tmp_path: Path) -> None:
    put(tmp_path, World((T4, SECOND_T4)))
    devices = tmp_path / "dev"
    devices.mkdir()
    for name in NODES:
        (devices / name).touch()
    places = Places(proc=tmp_path / "proc", run=tmp_path / "run", devices=devices)
    unit = replace(UNIT, allowed=ALLOWED | {"/dev/nvidia1"})
    check.check(places, unit.name, [Wanted(1, SECOND_T4.pci), Wanted(0, T4.pci)], lambda _: None, unit)
    text = places.environment(unit.name).read_text()
    assert f"CUDA_VISIBLE_DEVICES={SECOND_T4.uuid},{T4.uuid}\nCUDA_DEVICE_ORDER=PCI_BUS_ID\n" in text

    put(tmp_path, World((T4,)))
    with pytest.raises(check.Refused, match=SECOND_T4.pci):
        check.check(places, unit.name, [Wanted(1, SECOND_T4.pci)], lambda _: None, unit)
    assert not places.environment(unit.name).exists()  # no variables of a start that was refused


def test_what_systemd_says_of_a_unit_is_understood() -> None:
    text = "DevicePolicy=closed\nDeviceAllow=char-nvidia* rw\nDeviceAllow=/dev/nvidia0 rw\nPrivateDevices=no\n"
    assert check.parsed("x.service", text) == Unit(
        "x.service", "closed", frozenset({"char-nvidia*", "/dev/nvidia0"}), private_devices=False
    )


@pytest.mark.parametrize(
    ("cgroup", "unit", "stack"),
    [
        ("0::/knee.slice/knee-worker@0.service", "knee-worker@0.service", "knee"),
        ("0::/visual_anomaly.slice/visual-anomaly-router.service", "visual-anomaly-router.service", "visual-anomaly"),
        ("9:name=systemd:/\n0::/user.slice/user-1000.slice/session-3.scope", "session-3.scope", None),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/python.service", "python.service", None),
        ("0::/", None, None),
        ("", None, None),
    ],
)
def test_a_process_belongs_to_the_unit_and_stack_of_its_cgroup(
    cgroup: str, unit: str | None, stack: str | None
) -> None:
    assert place_of(cgroup) == (unit, stack)


def xids(*lines: str) -> Xids:
    found = Xids()
    for number, line in enumerate(lines):
        found.take(f"4,{number},{number}000000,-;{line}")
    return found


XID = "NVRM: Xid (PCI:0000:3b:00): "


@pytest.mark.parametrize(
    ("lines", "last", "is_condemned"),
    [
        ((XID + "13, pid=1, name=python, Graphics Exception",), 13, False),  # the program's own fault
        ((XID + "79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",), 79, True),
        ((XID + "109, pid=1, name=python, Ch 0000000b, errorString CTX SWITCH TIMEOUT, Info 0x1",), 109, True),
        ((XID + "94, pid=1, name=python, Contained: SM (0x1).",), 94, False),
        ((XID + "119, x", "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  535.309.01"), None, False),
        ((XID + "154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)",), 154, True),
        (
            (XID + "62, x", XID + "154, GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)"),
            154,
            False,
        ),
    ],
)
def test_an_xid_is_told_and_a_grave_one_condemns_the_card(
    lines: tuple[str, ...], last: int | None, is_condemned: bool
) -> None:
    found = xids("usb 1-1: new device", *lines)
    assert (found.last[T4.pci].code if T4.pci in found.last else None) == last
    assert (T4.pci in found.grave) == is_condemned


def reading(*cards: dict[str, Any], code: int | None = None) -> dict[str, Any]:
    error = {"code": code, "text": "no"} if code else None
    return {"libraries": "535.261.03", "error": error, "cards": list(cards)}


def answer(card: Card, *processes: dict[str, Any], code: int = 0) -> dict[str, Any]:
    if code:
        return {"pci": card.pci, "error": {"code": code, "text": "GPU is lost"}}
    return {
        "pci": card.pci,
        "error": None,
        "uuid": card.uuid,
        "model": card.model,
        "minor": card.minor,
        "capability": card.capability,
        "memory": {"total": 16 * GIB, "used": 12 * GIB, "free": 4 * GIB},
        "utilisation": 40,
        "processes": list(processes),
    }


DECLARED = [{"index": 0, "pci": T4.pci, "model": "Tesla T4"}, {"index": 1, "pci": A10.pci, "owner": "the LLM's"}]
ALICE = {"pid": 4711, "name": "python", "user": "alice", "unit": "session-3.scope", "stack": None, "memory": 11 * GIB}
OURS = {"pid": 12, "name": "python", "user": "knee", "unit": "knee-worker@0.service", "stack": "knee", "memory": GIB}
SEEN = Seen(100.0, DECLARED, "535.309.01", shown(T4, A10), reading(answer(T4, ALICE, OURS), answer(A10)))


def test_state_tells_cards_memory_and_whose_processes_they_hold() -> None:
    state = state_of(SEEN)
    assert state["driver"]["problem"] is None
    first, second = state["cards"]
    assert (first["index"], first["uuid"], first["minor"]) == (0, T4.uuid, 0)
    assert first["memory"]["free"] == 4 * GIB
    assert first["processes"] == [ALICE, OURS]
    assert second["owner"] == "the LLM's"


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (replace(SEEN, reading=reading(code=MISMATCH)), ("535.309.01", "535.261.03", "reboot")),
        (replace(SEEN, silent=4.0), ("does not answer", "reboot")),
        (replace(SEEN, loaded=None), ("not loaded", "modprobe")),
        (replace(SEEN, reading=reading(answer(T4, code=LOST), answer(A10))), (T4.pci, "fallen off the bus", "power")),
        (replace(SEEN, shown=shown(A10), reading=reading(answer(A10))), (T4.pci, "no card is there", "farrier_gpus")),
        (replace(SEEN, xids=xids(XID + "95, x")), (T4.pci, "Xid 95", "nvidia-smi --gpu-reset", "farrier-gpus forget")),
    ],
)
def test_a_problem_is_the_cards_too_and_says_what_to_do(seen: Seen, says: tuple[str, ...]) -> None:
    told = state_of(seen)["cards"][0]["problem"]
    assert all(each in told for each in says), told


def test_the_workers_understand_the_state() -> None:
    ended = ALICE | {"name": "", "user": None, "unit": None, "memory": None}
    told = State.model_validate_json(json.dumps(state_of(replace(SEEN, reading=reading(answer(T4, ended, OURS))))))
    assert told.by_index[0].processes[1].stack == "knee"
    assert told.by_index[1].problem
    assert told.by_index[1].memory is None
    for seen in (replace(SEEN, silent=4.0), replace(SEEN, reading=None), replace(SEEN, loaded=None, shown={})):
        assert State.model_validate_json(json.dumps(state_of(seen))).driver.problem


def test_an_xid_that_was_dealt_with_is_no_problem() -> None:
    seen = replace(SEEN, xids=xids(XID + "95, x"), forgotten={T4.pci: 0})
    assert state_of(seen)["cards"][0]["problem"] is None
    assert state_of(seen)["cards"][0]["xid"] is None


def test_a_card_that_is_not_declared_is_told_apart() -> None:
    seen = replace(SEEN, declared=DECLARED[:1])
    assert [card["pci"] for card in state_of(seen)["others"]] == [A10.pci]


def test_prometheus_reads_the_text_file() -> None:
    seen = replace(SEEN, xids=xids(XID + "13, x", XID + "13, y"))
    text = prometheus.text_of(state_of(seen), 1_800_000_000.5)
    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    card = (("gpu", "0"), ("pci", T4.pci))
    assert found["farrier_gpu_driver_up", ()] == 1
    assert found["farrier_gpu_seen_timestamp_seconds", ()] == 1_800_000_000.5
    assert found["farrier_gpu_memory_bytes", tuple(sorted((*card, ("kind", "free"))))] == 4 * GIB
    assert found["farrier_gpu_process_memory_bytes", tuple(sorted((*card, ("unit", "session-3.scope"))))] == 11 * GIB
    assert found["farrier_gpu_xid_errors_total", tuple(sorted((*card, ("xid", "13"))))] == 2
    assert found["farrier_gpu_utilization_ratio", card] == 0.4


def test_table_shows_card_unit_process_memory_and_fits_the_terminal() -> None:
    state = state_of(replace(SEEN, units={T4.pci: ["knee-worker@0.service", "knee-worker@1.service"]}))
    whole = show.lines(state, None)
    assert "Tesla T4 0000:3b:00.0" in whole[1]
    assert "session-3.scope" in whole[1]
    assert "python (4711)" in whole[1]
    assert "alice" in whole[1]
    assert whole[1].endswith("11.0 GiB")
    assert "knee-worker@1.service" in whole[3]  # it holds the card, without a process on it
    assert "the LLM's" in whole[4]
    narrow = show.lines(state, 80)
    assert max(map(len, narrow)) <= 80
    assert narrow[1].endswith("11.0 GiB")


def test_an_old_state_is_not_believed() -> None:
    state = json.loads(json.dumps(state_of(SEEN)))
    assert show.watcher_problem(state, 104.0) is None
    assert "restart farrier-gpus" in str(show.watcher_problem(state, 106.0))
    assert "systemctl status" in str(show.watcher_problem(None, 106.0))
