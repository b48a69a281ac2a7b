"""The knee site on a host with two cards (which are not there): from the stack file to the job that waits for one."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.host import Host
from tests.conftest import Boot
from tests.e2e.posts import steady_posts
from tests.e2e.site import Deploy, Site, copy_of_the_tree, deploy, site_of
from tests.gpu import pci, proc
from tests.gpu.world import A10, FOLDER, T4, World, install, show

WELL = World((T4, A10))
DECLARED = [
    {"pci": T4.pci, "model": "Tesla T4", "memory": "15G", "capability": "7.5"},
    {"pci": A10.pci, "model": "A10G", "memory": "22G", "capability": "8.6", "minor": A10.minor},
]
# Of the library's real name, which says its version.
LIBRARY = (
    "cp /usr/local/lib/x86_64-linux-gnu/libnvidia-ml.so.1 /usr/lib/libnvidia-ml.so.535.309.01 && "
    "ln -s libnvidia-ml.so.535.309.01 /usr/lib/libnvidia-ml.so.1"
)
IDLE = 4  # seconds
MANY = 10

pytestmark = pytest.mark.slow


@contextmanager
def edited(tree: Path) -> Iterator[dict[str, Any]]:
    """The services of the stack file, to be changed; a proof that waits for a job has 20 s."""
    file = tree / "stacks" / "knee" / "stack.yml"
    told = yaml.safe_load(file.read_text())
    yield told["services"]
    told["verify"] = [step | ({"within": "20s"} if "until" in step else {}) for step in told["verify"]]
    file.write_text(yaml.safe_dump(told, sort_keys=False))


@pytest.fixture(scope="module")
def cards_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A worker that asks for a whole card and may sleep, and a web service with a share of the other one."""
    tree = copy_of_the_tree(tmp_path_factory.mktemp("cards") / "tree")
    with edited(tree) as services:
        services["worker"] |= {"gpus": {"count": 1, "min_capability": "7.0"}, "idle": f"{IDLE}s"}
        services["web"]["gpus"] = {"cards": [1], "memory": "2G"}
    return tree


@pytest.fixture(scope="module")
def gpu_site(prepared: None, boot: Boot, cards_tree: Path) -> Site:
    """The deployed host, whose administrator installed the driver."""
    del prepared
    host = boot(os.environ.get("FARRIER_TEST_HOST", "test") + "-card", "bookworm", warm=True)
    pci.plug(host, {T4.pci: pci.T4, A10.pci: pci.A10G})
    install(host, WELL)
    host.run(LIBRARY)
    proc.load(host, f"{FOLDER}/proc")
    done = brought(host, cards_tree)
    assert "driver 535.309.01 works and is not Farrier's: left alone" in done.output
    return site_of(host, cards_tree.parent)


def brought(host: Host, tree: Path) -> Deploy:
    """A deploy of the whole site, that went well."""
    variables = json.dumps({"farrier_stacks": ["knee"], "farrier_gpus": DECLARED})
    done = deploy(host, "-e", variables, tree=tree)
    assert done.code == 0, done.output[-4000:]
    return done


def environment(site: Site, unit: str) -> list[str]:
    """The variables of a unit's main process."""
    return site.run(f"tr '\\0' '\\n' </proc/$(systemctl show -P MainPID {unit})/environ").splitlines()


def worker(site: Site) -> str:
    """What farrier-release says of the worker."""
    states = {each["unit"]: each["state"] for each in site.statuses()["units"]}
    return str(states["knee-worker@0.service"])


def test_each_unit_has_its_card_and_a_second_deploy_changes_nothing(gpu_site: Site, cards_tree: Path) -> None:
    assert f"CUDA_VISIBLE_DEVICES={T4.uuid}" in environment(gpu_site, "knee-worker@0")
    assert f"CUDA_VISIBLE_DEVICES={A10.uuid}" in environment(gpu_site, "knee-web")
    assert "/dev/nvidia0 rw" in gpu_site.run("systemctl show -P DeviceAllow knee-worker@0")
    assert "/dev/nvidia2 rw" in gpu_site.run("systemctl show -P DeviceAllow knee-web")
    table = gpu_site.run("farrier-gpus")
    assert [word in table for word in ("knee-worker@0.service", "knee-web.service")] == [True, True]
    assert brought(gpu_site.host, cards_tree).changed == 0


def test_a_web_service_with_a_card_restarts_in_its_place_and_no_request_fails(gpu_site: Site, cards_tree: Path) -> None:
    before = gpu_site.run("systemctl show -P MainPID knee-web")
    with edited(cards_tree) as services:
        services["web"]["environment"] = {"COLOUR": "green"}
    with steady_posts(gpu_site, 2) as posts:
        brought(gpu_site.host, cards_tree)
    assert posts.errors == []
    assert posts.sent > 10
    assert gpu_site.run("systemctl show -P MainPID knee-web") != before
    assert f"CUDA_VISIBLE_DEVICES={A10.uuid}" in environment(gpu_site, "knee-web")
    print(f"{posts.sent} uploads, the slowest {posts.slowest:.1f} s")


def test_jobs_wait_for_the_card_that_somebody_else_fills_and_all_are_done(gpu_site: Site) -> None:
    site, host = gpu_site, gpu_site.host
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
        site.run(f"sleep {IDLE + 2}")  # for what must not happen there is nothing to wait for
        assert worker(site) == "active", "a worker that waits for a card does not sleep"
        site.run("systemctl stop matlab")
        show(host, WELL)
        left = time.monotonic()
        site.until(lambda: states()["queued"] < MANY, "a job begins", within=30)
        print(f"the first of {MANY} jobs began {time.monotonic() - left:.1f} s after the card was free")
        site.until(lambda: states() == {"complete": MANY}, "all are done", within=300)
    assert site.run("systemctl show -P NRestarts knee-worker@0").strip() == "0"


def test_a_deploy_while_somebody_else_fills_the_card_is_proven_when_they_leave(
    gpu_site: Site, cards_tree: Path
) -> None:
    site = gpu_site
    foreign = int(site.run("systemd-run -q --uid=nobody --unit=matlab sleep 900; systemctl show -P MainPID matlab"))
    show(site.host, WELL.with_process(T4.pci, foreign, int(0.9 * T4.total)))
    site.until(lambda: "matlab" in site.run("farrier-gpus"), "the watcher sees who came")
    with edited(cards_tree) as services:
        services["worker"]["environment"] = {"COLOUR": "blue"}
    done = brought(site.host, cards_tree)
    assert "web and queue proven" in done.output
    site.until(lambda: "waiting for GPU 0" in json.dumps(site.statuses()["units"]), "the proof's job waits")
    site.run("sleep 25")  # longer than the proof has time for, were it not held
    assert (site.statuses()["proven"], site.statuses()["alone"]) == (False, {})
    assert "no worker was free for a real job yet" in site.run("farrier-release status knee")
    site.run("systemctl stop matlab")
    show(site.host, WELL)
    site.until(lambda: site.statuses()["proven"], "a real job is proven")
    assert site.statuses()["alone"] == {}
    assert "COLOUR=blue" in environment(site, "knee-worker@0")


def test_a_worker_that_sleeps_gives_its_card_back_and_has_it_again_when_it_wakes(gpu_site: Site) -> None:
    gpu_site.until(lambda: worker(gpu_site) == "asleep", "the worker sleeps")
    assert gpu_site.run("ls /run/farrier/gpu/card-0 | grep -c hold-; true").strip() == "0"
    job = gpu_site.submit()
    gpu_site.until(lambda: worker(gpu_site) == "active", "the job wakes it")
    assert f"CUDA_VISIBLE_DEVICES={T4.uuid}" in environment(gpu_site, "knee-worker@0")
    gpu_site.wait_for(job)


def test_a_driver_that_hangs_is_told_by_the_sites_readiness(gpu_site: Site) -> None:
    gpu_site.run(f"sed -i 's/^hang 0/hang 1/' {FOLDER}/nvml")
    gpu_site.until(lambda: gpu_site.status_code("/health/ready") == 503, "a hanging driver is told")
    show(gpu_site.host, WELL)
    gpu_site.until(lambda: gpu_site.status_code("/health/ready") == 200, "it is over")


def test_the_end_of_its_time_frees_the_cards_also_of_a_worker_that_sleeps(gpu_site: Site) -> None:
    gpu_site.until(lambda: worker(gpu_site) == "asleep", "the worker sleeps")
    gpu_site.run(f"farrier-release deploy knee {gpu_site.statuses()['active']} --for 1s")
    gpu_site.until(lambda: gpu_site.statuses()["active"] is None, "it has ended")
    gpu_site.until(lambda: gpu_site.run("farrier-gpus").count("free") == 2, "both cards are free")
    assert gpu_site.host.run("pgrep -u knee").stdout == ""
    gpu_site.run("farrier-release rollback knee")
    gpu_site.wait_until_serving()
    gpu_site.wait_for(gpu_site.submit())


def test_cards_that_the_inventory_takes_back_are_nobodys_business_any_more(gpu_site: Site, cards_tree: Path) -> None:
    with edited(cards_tree) as services:
        services["worker"]["gpus"]["without"] = "cpu"
        del services["web"]["gpus"]
    done = deploy(gpu_site.host, "-e", json.dumps({"farrier_stacks": ["knee"]}), tree=cards_tree)
    assert done.code == 0, done.output[-4000:]
    gpu_site.until(lambda: "no GPU" in gpu_site.run("farrier-gpus"), "the watcher has ended")
    assert gpu_site.run("systemctl show -P Result -P ActiveState farrier-gpus").split() == ["success", "inactive"]
    with gpu_site.client() as client:
        assert not [name for name in client.get("/health/ready").json()["checks"] if name.startswith("gpu")]
    gpu_site.wait_for(gpu_site.submit())
