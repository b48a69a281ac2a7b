from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from testbed.images import Recipe, recipe
from testbed.shell import DriverError

BARE = Recipe("bookworm", warm=False, archive=("deb http://m.example.org/debian bookworm main",), certificates=())


def test_image_name_says_suite_and_kind() -> None:
    assert BARE.name.startswith("bookworm-bare-")
    assert replace(BARE, warm=True).name.startswith("bookworm-warm-")


def test_same_recipe_same_image() -> None:
    assert replace(BARE).name == BARE.name


def test_other_archive_other_image() -> None:
    assert replace(BARE, archive=("deb http://other.example.org/debian bookworm main",)).name != BARE.name


def test_changed_certificate_other_image(tmp_path: Path) -> None:
    certificate = tmp_path / "ca.crt"
    certificate.write_text("one")
    with_one = replace(BARE, certificates=(certificate,))
    name_with_one = with_one.name
    certificate.write_text("two")
    assert BARE.name != name_with_one != with_one.name


def test_bare_host_has_none_of_the_packages_that_roles_install() -> None:
    assert not {"caddy", "redis-server", "curl"} & set(BARE.packages)


def test_warm_host_starts_none_of_its_services() -> None:
    assert "disable caddy.service redis-server.service" in replace(BARE, warm=True).finish


def test_unknown_suite_names_the_known_ones() -> None:
    with pytest.raises(DriverError, match="bookworm, trixie"):
        recipe("buster", warm=False)
