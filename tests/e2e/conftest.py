"""One Debian 12 host with both stacks for all end-to-end tests, deployed by the main job."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Boot
from tests.e2e.site import Site, copy_of_the_tree, deploy, site_of


@pytest.fixture(scope="session")
def site(prepared: None, boot: Boot, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The host, serving."""
    del prepared
    # Another name keeps the runs of two checkouts on one machine apart.
    host = boot(os.environ.get("FARRIER_TEST_HOST", "test-pegasus"), "bookworm", warm=True)
    done = deploy(host)
    assert done.code == 0, done.output[-6000:]
    return site_of(host, tmp_path_factory.mktemp("ca"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the working tree to break."""
    return copy_of_the_tree(tmp_path / "tree")
