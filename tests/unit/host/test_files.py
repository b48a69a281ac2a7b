"""Live files: whose they are, and that a crash leaves the old one or the new one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from farrier_host.release import files, state
from farrier_host.release.files import FileSet, Refused
from farrier_host.release.layout import Layout, owner

NOTICE = "# Farrier: stack knee. Written by farrier-release; the next release replaces it.\n"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path)
    made.units.mkdir(parents=True)
    return made


def release(layout: Layout, name: str, units: dict[str, str], sites: dict[str, str]) -> None:
    folder = layout.release("knee", name)
    inside = {f"units/{key}": text for key, text in units.items()} | {
        f"caddy/{key}": text for key, text in sites.items()
    }
    for path, text in inside.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    plan = {"units": [{"file": name, "starts": [name]} for name in units if name.endswith(".service")]}
    (folder / "plan.json").write_text(json.dumps(plan))


@pytest.mark.parametrize(
    ("text", "stack"), [(NOTICE, "knee"), ("# Farrier: the front door.\n", None), ("[Unit]\n", None), ("", None)]
)
def test_the_notice_tells_whose_a_file_is(text: str, stack: str | None) -> None:
    assert owner(text) == stack


def test_only_files_of_the_stack_are_taken_for_live(layout: Layout) -> None:
    (layout.units / "knee-web.service").write_text(NOTICE)
    (layout.units / "knee-x-web.service").write_text(NOTICE.replace("knee", "knee-x"))
    (layout.units / "knee-own.service").write_text("[Unit]\nDescription=an administrator's\n")
    assert list(files.live(layout, "knee", FileSet()).units) == ["knee-web.service"]


def test_replacing_writes_what_differs_and_removes_what_is_gone(layout: Layout) -> None:
    old = FileSet({"knee-a.service": "same", "knee-b.service": "old", "knee-c.service": "gone"})
    files.replace_units(layout, FileSet(), old)
    untouched = (layout.units / "knee-a.service").stat().st_ino
    files.replace_units(layout, old, FileSet({"knee-a.service": "same", "knee-b.service": "new"}))
    assert sorted(path.name for path in layout.units.iterdir()) == ["knee-a.service", "knee-b.service"]
    assert (layout.units / "knee-b.service").read_text() == "new"
    assert (layout.units / "knee-a.service").stat().st_ino == untouched


def test_a_release_is_read_back_as_it_was_staged(layout: Layout) -> None:
    release(layout, "1", {"knee-web.service": NOTICE, "knee.target": NOTICE}, {"host.d/knee.caddy": "x"})
    found = files.of_release(layout, "knee", "1")
    assert set(found.units) == {"knee-web.service", "knee.target"}
    assert found.sites == {"host.d/knee.caddy": "x"}
    assert found.instances() == ["knee-web.service"]


def test_an_unknown_release_is_refused_with_a_hint(layout: Layout) -> None:
    with pytest.raises(Refused, match="farrier-release list knee"):
        files.of_release(layout, "knee", "2")


def test_a_failed_write_leaves_the_old_text(layout: Layout) -> None:
    path = layout.units / "knee-web.service"
    files.write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        files.write_atomically(path, "new \udcff")
    assert path.read_text() == "old"
    assert [each.name for each in layout.units.iterdir()] == [path.name]


def test_the_journal_survives_as_written(layout: Layout) -> None:
    written = state.save(layout, "knee", state.State(state.UNCONFIRMED, "2", "1", message="why"))
    assert state.load(layout, "knee") == written
    assert not written.is_settled
    assert state.load(layout, "other").active is None
