"""A release that is cut leaves the old one or the new one, whole. The other cuts are in `make faults`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.cutting import Release, cut_and_look, finish
from tests.e2e.site import ROOT, Site
from tests.faults.cuts import activation, full_while_staging, play_proving, reboot

# Name -> what cuts it, and which release is live afterwards.
CUTS: dict[str, tuple[Callable[[Release], None], str]] = {
    "kill -9 of the activation in mid-bridge": (partial(activation, line="restart knee-web.service"), "the old"),
    "kill -9 of ansible before the confirmation": (play_proving, "the new"),
    "power cut in mid-bridge": (partial(reboot, line="restart knee-web.service"), "the old"),
    "disk full while staging": (full_while_staging, "the old"),
}


@pytest.fixture(autouse=True, scope="module")
def _well_afterwards(site: Site) -> Iterator[None]:
    """The next run, of the working tree, ends well and leaves nothing behind."""
    yield
    finish(site, ROOT)
    site.wait_for(site.submit())


@pytest.mark.parametrize("name", CUTS)
def test_one_release_serves_whole_after_a_cut(site: Site, tree: Path, name: str) -> None:
    cause, live = CUTS[name]
    (tree / "app" / "__init__.py").write_text(f'"""{name}."""\n')
    after = cut_and_look(site, tree, cause, reboots="power" in name)
    assert after.live == live, after
