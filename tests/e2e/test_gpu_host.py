"""The knee site on a host with a card (one that is not there): from the stack file to the job that waits for it."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from farrier.tool import programs
from testbed.host import Host
from tests.conftest import Boot
from tests.e2e.site import ROOT, Site, copy_of_the_tree, deploy, site_of
from tests.gpu import pci
from tests.gpu.world import GIB, T4, World, install, send, show

WELL = World((T4,))
DECLARED = {"pci": T4.pci, "model": "Tesla T4", "memory": "15G", "capability": "7.5"}
PLANNED = DECLARED | {"index": 0, "memory": 15 * GIB, "owner": None, "minor": 0}
MANY = 10


def _watch(host: Host) -> None:
    """What role `nvidia` would bring besides a driver, which no test host can load."""
    files = {path: file["content"].encode() for path, file in programs(ROOT).items()}
    files["/etc/systemd/system/farrier-gpus.service"] = (ROOT / "systemd" / "farrier-gpus.service.j2").read_bytes()
    files["/etc/farrier/gpus.json"] = json.dumps([PLANNED]).encode()
    send(
        host,
        files,
        then="groupadd --system farrier-gpu && systemctl daemon-reload && systemctl enable --now farrier-gpus",
    )


@pytest.fixture
def gpu_site(prepared: None, boot: Boot, tmp_path: Path) -> Site:
    """A host with one T4, where the worker asked for a whole card."""
    del prepared
    host = boot(os.environ.get("FARRIER_TEST_HOST", "test") + "-card", "bookworm", warm=True)
    pci.plug(host, {T4.pci: pci.T4})
    install(host, WELL)
    _watch(host)
    tree = copy_of_the_tree(tmp_path / "tree")
    file = tree / "stacks" / "knee" / "stack.yml"
    told = yaml.safe_load(file.read_text())
    told["services"]["worker"]["gpus"] = {"count": 1, "min_capability": "7.0"}
    file.write_text(yaml.safe_dump(told, sort_keys=False))
    variables = json.dumps({"farrier_stacks": ["knee"], "farrier_gpus": [DECLARED]})
    done = deploy(host, "-e", variables, "--skip-tags", "nvidia", tree=tree)
    assert done.code == 0, done.output[-4000:]
    return site_of(host, tmp_path)


@pytest.mark.slow
def test_jobs_wait_for_the_card_that_somebody_else_fills_and_all_are_done(gpu_site: Site) -> None:
    site, host = gpu_site, gpu_site.host
    seen = site.run("tr '\\0' '\\n' </proc/$(systemctl show -P MainPID knee-worker@0)/environ")
    assert f"CUDA_VISIBLE_DEVICES={T4.uuid}\n" in seen
    assert "/dev/nvidia0 rw" in site.run("systemctl show -P DeviceAllow knee-worker@0")
    foreign = int(site.run("systemd-run -q --uid=nobody --unit=matlab sleep 900; systemctl show -P MainPID matlab"))
    show(host, WELL.with_process(T4.pci, foreign, int(0.9 * T4.total)))
    with site.client() as client:

        def told(job: str) -> dict[str, str]:
            answer: dict[str, str] = client.get(f"/status/{job}").json()
            return answer

        def states() -> Counter[str]:
            return Counter(told(job)["status"] for job in jobs)

        site.until(lambda: "matlab" in site.run("farrier-gpus"), "the watcher sees who came")
        jobs = [site.submit() for _ in range(MANY)]
        site.until(lambda: "waiting for GPU 0" in told(jobs[0]).get("message", ""), "the job says what it waits for")
        assert f"held by sleep (PID {foreign}, nobody" in told(jobs[0])["message"]
        assert states() == {"queued": MANY}
        assert client.get("/health/ready").status_code == 200  # a full card is nobody's fault
        site.run("systemctl stop matlab")
        show(host, WELL)
        left = time.monotonic()
        site.until(lambda: states()["queued"] < MANY, "a job begins", within=30)
        print(f"the first of {MANY} jobs began {time.monotonic() - left:.1f} s after the card was free")
        site.until(lambda: states() == {"complete": MANY}, "all are done", within=300)
        site.run("sed -i 's/^hang 0/hang 1/' /run/fakegpu/nvml")
        site.until(lambda: client.get("/health/ready").status_code == 503, "a hanging driver is told", within=10)
    assert site.run("systemctl show -P NRestarts knee-worker@0").strip() == "0"
