"""Stacks that would have GPU cards, on a host that has none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.site import Site, deploy

FARRIER = Path(sys.executable).parent / "farrier"
KNEE, HELLO = "stacks/knee/stack.yml", "stacks/hello/stack.yml"
EXTRA = """\
  extra:
    {kind: celery, contract: foreign, app: "hello:app", env: web, queues: [extra], gpus: {count: 2, without: skip}}
  after: {kind: timer, run: hello, env: web, every: 1h, after: {extra: started}}
verify:"""


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_host_without_gpus_runs_what_can_and_leaves_out_what_cannot(site: Site, tree: Path) -> None:
    """The worker does jobs as before, and is not even restarted: its unit is the one of a service without cards."""
    edit(tree / KNEE, "queues: [knee]", 'queues: [knee]\n    gpus: {memory: 8G, min_capability: "7.0", without: cpu}')
    edit(tree / HELLO, "verify:", EXTRA)
    assert deploy(site.host).code == 0  # tests before this one may have left an older release live
    pids = "systemctl show --property=MainPID --value knee-worker@0 hello-web"
    before = site.run(pids)
    told = subprocess.run(
        [FARRIER, "plan", "-i", "inventory/demo", "-l", site.host.name],
        check=True,
        capture_output=True,
        text=True,
        cwd=tree,
        env=os.environ | {"PYTHONPATH": f"{tree}:{tree}/host", "COLUMNS": "200"},
    ).stdout
    assert "knee worker: runs without a GPU; this host has none for stacks" in told
    assert (
        f"hello: left out on this host:\n  extra: {site.host.name} has no GPU for it\n  after: it needs extra" in told
    )
    done = deploy(site.host, tree=tree)
    try:
        assert done.code == 0, done.output[-3000:]
        site.wait_for(site.submit())
        assert site.run(pids) == before
        assert "hello-extra" not in site.run("systemctl list-unit-files 'hello-*'")
        assert "hello-after" not in site.run("systemctl list-unit-files 'hello-*'")
    finally:
        assert deploy(site.host).code == 0
