"""What another machine is told so that it can decide as this host will."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from farrier_host.release import state, systemd
from farrier_host.release.layout import Layout
from farrier_host.release.survey import survey
from farrier_host.release.systemd import Seen

NOTICE = "# Farrier: stack knee. Written by farrier-release; the next release replaces it.\n"


def seen(active: str, enabled: str, started: int | None) -> Seen:
    return Seen(active, "", "success", enabled, "", "", 0, started, None, 0)


SEEN = {
    "knee-web.service": seen("active", "enabled", 500),
    "knee-redis.service": seen("inactive", "enabled", None),
    "knee-worker@0.service": seen("inactive", "disabled", None),
}


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A host with one live release, whose web service runs, whose Redis died, and whose worker is kept down."""
    made = Layout(tmp_path)
    folder = made.release("knee", "1")
    files = {unit: unit for unit in SEEN} | {"knee-worker@.service": "knee-worker@0.service"}
    del files["knee-worker@0.service"]
    units = [
        {"file": file, "starts": [unit], "change": "follow" if "@" in file else "restart"}
        for file, unit in files.items()
    ]
    for place in (folder / "units", made.units):
        place.mkdir(parents=True)
        for file in files:
            (place / file).write_text(NOTICE)
    (folder / "plan.json").write_text(json.dumps({"units": units}))
    (folder / "release.json").write_text("{}")
    (made.home("knee") / "code" / "app-1").mkdir(parents=True)
    made.credential("knee", "verify-token").parent.mkdir(parents=True)
    made.credential("knee", "verify-token").write_text("secret")
    state.save(made, "knee", state.State(state.CONFIRMED, "1"))
    monkeypatch.setattr(systemd, "look", lambda names: {name: SEEN[name] for name in names})
    return made


def test_the_live_files_and_how_each_unit_is(layout: Layout) -> None:
    found = survey(layout, "knee")
    assert (found["release"], found["phase"]) == ("1", "confirmed")
    assert found["starts"]["knee-worker@.service"] == ["knee-worker@0.service"]
    assert found["changes"]["knee-worker@.service"] == "follow"
    assert sorted(found["stopped"]) == ["knee-redis.service", "knee-worker@0.service"]
    assert found["kept_down"] == ["knee-worker@0.service"]
    assert found["started"] == {"knee-web.service": 500}
    assert found["placed"] == [str(layout.home("knee") / "code" / "app-1")]
    assert json.loads(json.dumps(found)) == found


def test_a_release_is_told_by_the_hashes_of_its_own_files_and_no_secret_is(layout: Layout) -> None:
    found = survey(layout, "knee")
    assert found["digests"]["units/knee-web.service"] == hashlib.sha256(NOTICE.encode()).hexdigest()
    assert "release.json" not in found["digests"]
    assert list(found["credentials"]) == [str(layout.credential("knee", "verify-token"))]
    assert "secret" not in json.dumps(found).replace("credentials", "")


def test_a_bare_host_has_nothing(tmp_path: Path) -> None:
    found = survey(Layout(tmp_path), "knee")
    assert found["release"] is None
    assert not any(found[key] for key in ("units", "sites", "starts", "stopped", "digests", "credentials", "placed"))


def test_of_a_release_that_is_gone_the_files_are_known_and_not_what_they_started(layout: Layout) -> None:
    for path in sorted(layout.release("knee", "1").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    found = survey(layout, "knee")
    assert "knee-web.service" in found["units"]
    assert found["starts"] == {}
