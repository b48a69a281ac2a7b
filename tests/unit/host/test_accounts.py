"""A stack's secret files: made once, replaced when the vault gives another value, never read by others."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.farrier_accounts import Maker, with_values

GIVEN = {"name": "token", "kind": "given", "of": "", "admin": ""}


class Folder:
    """Credentials of the stack `knee`, whose owner is whoever runs the test."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        monkeypatch.setattr(Maker, "folder", lambda *_: path.mkdir(exist_ok=True))

    def make(self, value: str, *, only_look: bool = False) -> list[str]:
        stack: dict[str, Any] = {"name": "knee", "credentials_folder": str(self.path), "credentials": [GIVEN]}
        (whole,) = with_values([stack], {"knee": {"token": value}})
        maker = Maker(lambda _: None, only_look=only_look)
        maker.credentials(whole)
        made: list[str] = maker.made
        return made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    return Folder(tmp_path / "credentials", monkeypatch)


def test_a_given_value_is_written_once_and_again_when_it_is_another(folder: Folder) -> None:
    file = folder.path / "token"
    assert folder.make("one", only_look=True) == [f"secret {file}"]
    assert not file.exists()
    folder.make("one")
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("one", 0o600)
    assert folder.make("one") == []
    assert folder.make("two") == [f"secret {file}"]
    assert file.read_text() == "two"


def test_a_look_needs_only_the_hash(folder: Folder) -> None:
    folder.make("one")
    digest = hashlib.sha256(b"one").hexdigest()
    maker = Maker(lambda _: None, only_look=True)
    stack = {"credentials_folder": str(folder.path), "credentials": [GIVEN | {"sha256": digest}]}
    maker.credentials(stack)
    assert maker.made == []


def test_a_given_secret_without_a_value_is_told(folder: Folder) -> None:
    stack = {"name": "knee", "credentials_folder": str(folder.path), "credentials": [GIVEN]}
    with pytest.raises(ValueError, match="farrier_secrets has no value for knee/token"):
        with_values([stack], {"other": {"token": "one"}})
