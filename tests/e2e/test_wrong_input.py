"""Wrong input gives one clear message, and the host stays as it was."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.site import Site, deploy

KNEE = "stacks/knee/stack.yml"


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    """A change of one file of the tree."""

    def change(tree: Path) -> None:
        path = tree / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def other_hash(manifest: Path) -> None:
    """Give the first model another SHA-256."""
    manifest.write_text(re.sub(r"sha256: [0-9a-f]{64}", f'sha256: "{"0" * 64}"', manifest.read_text(), count=1))


# what is wrong -> (change, what the message says)
WRONG = {
    "misspelt key": (
        edit(KNEE, "processes:", "proceses:"),
        ["knee/stack.yml:", "proceses", "did you mean 'processes'?"],
    ),
    "cycle in after": (
        edit(KNEE, "{kind: redis, memory: 256M}", "{kind: redis, memory: 256M, after: {worker: started}}"),
        ["knee/stack.yml:", "wait for each other", "worker", "redis"],
    ),
    "unknown env": (
        edit(KNEE, "env: app\n", "env: ap\n"),
        ["services.web.env", "unknown env 'ap': did you mean 'app'?"],
    ),
    "wrong sha256 of a model": (
        lambda tree: other_hash(tree / "stacks" / "models.yml"),
        ["stacks/models.yml:", "knee-phantom-classes", "0" * 64],
    ),
    "too little memory": (edit(KNEE, "memory: 3G", "memory: 3000G"), ["memory:", "limits.memory"]),
}


@pytest.mark.parametrize(("change", "told"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_told_and_changes_nothing(
    site: Site, tree: Path, change: Callable[[Path], None], told: list[str]
) -> None:
    before = site.fingerprint()
    change(tree)
    done = deploy(site.host, tree=tree)
    assert done.code != 0
    for words in told:
        assert words in done.output, done.output[-3000:]
    assert "changed=0" in done.output
    assert site.fingerprint() == before
    assert site.status_code("/health/ready") == 200


def test_too_little_disk_is_told_and_changes_nothing(site: Site, tree: Path) -> None:
    """A new stack that wants more room than there is; one that is live has its data already."""
    shutil.copytree(tree / "stacks" / "hello", tree / "stacks" / "third")
    edit("stacks/third/stack.yml", "envs/web.lock", "../../build/locks/hello/envs/web.lock")(tree)
    edit("stacks/third/stack.yml", "path: /hello", "path: /third")(tree)
    edit("stacks/third/stack.yml", "disk: 50M", "disk: 900000G")(tree)
    before = site.fingerprint()
    done = deploy(site.host, "-e", '{"farrier_stacks": ["hello", "knee", "third"]}', tree=tree)
    assert done.code != 0
    assert "disk: 879 TiB are needed" in done.output, done.output[-2000:]
    assert "make room" in done.output
    assert site.fingerprint() == before


def test_a_taken_port_names_its_holder_and_changes_nothing(site: Site) -> None:
    listener = "import socket, time; s = socket.create_server(('127.0.0.1', 8443)); time.sleep(600)"
    site.run(f"systemd-run --quiet --collect --unit=squatter --uid=nobody python3 -c {shlex.quote(listener)}")
    site.run("timeout 20 sh -c 'until ss -Hltn sport = :8443 | grep -q .; do :; done'")
    pid = site.run("systemctl show --property=MainPID --value squatter").strip()
    before = site.fingerprint()
    try:
        done = deploy(site.host, "-e", "farrier_https_port=8443")
    finally:
        site.run("systemctl stop squatter")
    assert done.code != 0
    assert f"port 8443 is taken by python3 (PID {pid}, user nobody, unit squatter.service)" in done.output
    assert "changed=0" in done.output
    assert site.fingerprint() == before


def test_an_unknown_host_variable_is_told(site: Site) -> None:
    done = deploy(site.host, "-e", "farrier_hostnam=x")
    assert done.code != 0
    assert "farrier_hostnam: unknown variable: did you mean 'farrier_hostname'?" in done.output
