"""What a host says of its cards and of the driver, read from folders that look like its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugins.module_utils import farrier_gpu
from tests.gpu import pci, proc
from tests.gpu.world import T4


@pytest.mark.parametrize(("machine", "devices"), pci.MACHINES.items(), ids=pci.MACHINES)
def test_cards_are_found_without_a_driver(tmp_path: Path, machine: str, devices: dict[str, pci.Device]) -> None:
    del machine
    found = farrier_gpu.cards(str(pci.write(tmp_path, devices)))
    assert [(card["pci"], int(card["vendor"], 16), int(card["device"], 16)) for card in found] == [
        (slot, device.vendor, device.device) for slot, device in sorted(devices.items())
    ]


def test_a_cards_sound_and_other_peoples_display_controllers_are_no_cards(tmp_path: Path) -> None:
    devices = {
        "0000:3b:00.1": pci.Device(0x10DE, 0x10F7, 0x040300),
        "0000:02:00.0": pci.Device(0x1A03, 0x2000, 0x030000),
    }
    assert farrier_gpu.cards(str(pci.write(tmp_path, devices))) == []


def test_a_machine_without_pci_has_no_cards(tmp_path: Path) -> None:
    assert farrier_gpu.cards(str(tmp_path / "none")) == []


@pytest.mark.parametrize("is_open", [False, True], ids=["proprietary", "open"])
@pytest.mark.parametrize("version", ["535.309.01", "580.95"])
def test_the_loaded_version_is_read_in_both_formats(tmp_path: Path, version: str, is_open: bool) -> None:
    for path, text in proc.tree([T4], version, is_open=is_open):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert farrier_gpu.loaded(str(tmp_path)) == version


def test_nothing_is_loaded_where_the_driver_shows_nothing(tmp_path: Path) -> None:
    assert farrier_gpu.loaded(str(tmp_path)) is None


def test_the_libraries_version_is_that_of_the_file_behind_the_links(tmp_path: Path) -> None:
    real = tmp_path / "nvidia" / "libnvidia-ml.so.535.309.01"
    real.parent.mkdir()
    real.touch()
    (tmp_path / "alternative").symlink_to(real)
    (tmp_path / "libnvidia-ml.so.1").symlink_to(tmp_path / "alternative")
    assert farrier_gpu.libraries((str(tmp_path / "none"), str(tmp_path))) == "535.309.01"
    assert farrier_gpu.libraries((str(tmp_path / "none"),)) is None


def test_a_kernel_counts_when_it_has_an_image_and_modules(tmp_path: Path) -> None:
    for name in ("boot/vmlinuz-6.1.0-56-amd64", "boot/vmlinuz-6.1.0-57-amd64", "boot/initrd.img-6.1.0-56-amd64"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "modules" / "6.1.0-56-amd64").mkdir(parents=True)
    (tmp_path / "modules" / "6.18.44-other").mkdir(parents=True)
    assert farrier_gpu.kernels(str(tmp_path / "boot"), str(tmp_path / "modules")) == ["6.1.0-56-amd64"]


def test_the_end_of_a_build_that_broke_off_is_kept(tmp_path: Path) -> None:
    build = tmp_path / "nvidia-current" / "535.309.01" / "build"
    build.mkdir(parents=True)
    lines = [f"line {number}\n" for number in range(99)]
    (build / "make.log").write_text("".join([*lines, f"  gcc {'-DMANY ' * 500}\n"]))
    (name, tail), *others = farrier_gpu.logs(str(tmp_path)).items()
    assert (name, others) == ("nvidia-current/535.309.01", [])
    assert tail.splitlines()[0] == "line 60"
    assert tail.splitlines()[-1].startswith("  gcc -DMANY")
    assert len(tail.splitlines()[-1]) == 201


@pytest.mark.parametrize(("value", "expected"), [(b"\x06\0\0\0\x01", True), (b"\x06\0\0\0\0", False), (None, False)])
def test_secure_boot_is_read_from_the_firmware(tmp_path: Path, value: bytes | None, expected: bool) -> None:
    variable = tmp_path / "SecureBoot"
    if value is not None:
        variable.write_bytes(value)
    assert farrier_gpu.secure_boot(str(variable)) == expected
