"""A secret from a real vault reaches the process that needs it, and nothing else; a password is rotated under load."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import canary
from tests.e2e.posts import steady_posts
from tests.e2e.site import PHANTOM, Deploy, Site, copy_of_the_tree, deploy

_BIN = Path(sys.executable).parent
_CREDENTIALS = "/etc/farrier/knee/credentials"
_RUN = [str(_BIN / "farrier"), "run", "-i", "inventory/demo"]


@dataclass(frozen=True)
class Vaulted:
    """The site after a deploy that brought a secret by a vault, which was watched."""

    site: Site
    tree: Path
    value: str
    password_file: Path
    deployed: Deploy


@pytest.fixture(scope="module")
def vaulted(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vaulted]:
    folder = tmp_path_factory.mktemp("vaulted")
    tree, value = copy_of_the_tree(folder / "tree"), canary.new()
    password = canary.vault(tree, site.host.name, "knee", {"metrics-token": value}, folder)
    with canary.watched(site, value):
        done = deploy(site.host, "-vvv", "--diff", "--vault-password-file", str(password), tree=tree)
        assert done.code == 0, done.output[-6000:]
        site.wait_for(site.submit())
    yield Vaulted(site, tree, value, password, done)
    site.run("rm -f /root/.canaries*")


def test_a_secret_from_the_vault_reaches_its_service(vaulted: Vaulted) -> None:
    bearer = {"Authorization": f"Bearer {vaulted.value}"}
    with vaulted.site.client() as client:
        assert client.get("/metrics", headers=bearer).status_code == 200
        assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/metrics", headers={"Connection": "X-Forwarded-For"}).status_code == 401
    shown = vaulted.site.run("ls /run/credentials/knee-web.service /run/credentials/knee-worker@0.service").split(
        "\n\n"
    )
    assert ["metrics-token" in each for each in shown] == [True, False], "the worker has no need of it"


def test_it_lies_in_a_file_for_root_alone(vaulted: Vaulted) -> None:
    modes = vaulted.site.run(f"stat -c '%a %U' {_CREDENTIALS} {_CREDENTIALS}/*").splitlines()
    assert modes[0] == "700 root"
    assert set(modes[1:]) == {"600 root"}


def test_it_is_nowhere_else_on_the_host(vaulted: Vaulted) -> None:
    """Nor was it in any process's arguments or variables meanwhile: the fixture looked all the time."""
    assert canary.found_on(vaulted.site) == {}


def test_the_search_finds_what_it_looks_for(vaulted: Vaulted) -> None:
    """A search that finds nothing proves nothing by itself."""
    leak = "/var/tmp/leak"
    canary.send(vaulted.site, f"cat > {leak}; LEAK=$(cat {leak}) sleep 600 >/dev/null 2>&1 &", vaulted.value)
    try:
        vaulted.site.until(lambda: vaulted.site.host.run("pgrep -f '[s]leep 600'").returncode == 0, "it leaks")
        assert {"a file", "the variables of a process"} == canary.found_on(vaulted.site).keys()
    finally:
        vaulted.site.run(f"rm -f {leak}; pkill -f '[s]leep 600'; true")


def test_it_is_nowhere_in_what_ansible_says_and_keeps(vaulted: Vaulted) -> None:
    assert "TASK [base : Give every stack its user, folders and secrets]" in vaulted.deployed.output
    assert vaulted.value not in vaulted.deployed.output
    assert vaulted.value.split("'")[1] not in vaulted.deployed.output, "nor with its quotation mark escaped"
    assert canary.found_here(vaulted.value, *canary.ansible_folders(vaulted.tree)) == []
    assert stat.S_IMODE(vaulted.password_file.stat().st_mode) == 0o600


def test_it_is_in_no_plan(vaulted: Vaulted) -> None:
    command = [str(_BIN / "farrier"), "plan", "-i", "inventory/demo", "-l", vaulted.site.host.name, "--json"]
    # The tree's own copy of the command: the other one would read this checkout's inventory.
    code = "import sys; sys.path.insert(0, '.'); from farrier.cli import app; app(sys.argv[1:])"
    environment = os.environ | {"ANSIBLE_VAULT_PASSWORD_FILE": str(vaulted.password_file)}
    done = subprocess.run(
        [sys.executable, "-c", code, *command[1:]],
        check=False,
        capture_output=True,
        text=True,
        cwd=vaulted.tree,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    (knee,) = (stack for stack in json.loads(done.stdout)["stacks"] if stack["name"] == "knee")
    assert {"metrics-token": "given"}.items() <= {each["name"]: each["kind"] for each in knee["credentials"]}.items()
    assert vaulted.value not in done.stdout + done.stderr


@pytest.mark.slow  # what it is made of is tested with a real Redis in tests/unit/host/test_rotate.py
def test_rotating_the_password_of_redis_costs_no_request(site: Site) -> None:
    before = site.run(f"sha256sum {_CREDENTIALS}/redis-password")
    redis = site.run("systemctl show --property=InvocationID knee-redis")
    with steady_posts(site, rate=3) as posts:
        done = subprocess.run(
            [str(_BIN / "farrier"), "rotate", "knee", "redis-password", "-i", "inventory/demo", "-l", site.host.name],
            check=False,
            capture_output=True,
            text=True,
            env={key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE")},
        )
        assert done.returncode in (0, 3), done.stdout + done.stderr
        site.until(lambda: _is_rotated(site), "the rotation ends")
    assert posts.sent > 10
    assert posts.errors == []
    assert site.run(f"sha256sum {_CREDENTIALS}/redis-password") != before
    assert site.run("systemctl show --property=InvocationID knee-redis") == redis, "Redis was restarted for nothing"
    assert "WRONGPASS" not in site.run("journalctl --no-pager -u 'knee-*' --since -5min -o cat")
    assert "is as it should be" in site.run("farrier-release check knee")


def _is_rotated(site: Site) -> bool:
    return site.host.run(f"test -e {_CREDENTIALS}/redis-password.new").returncode != 0


# ---- commands in a service's place --------------------------------------------------------------------------------


def run(site: Site, place: str, *command: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """`farrier run`, as an administrator types it."""
    call = [*_RUN, place, "-l", site.host.name, "--", *command]
    return subprocess.run(call, check=False, capture_output=True, text=True, input=given, timeout=60)


def test_a_command_has_the_services_place_and_the_callers_input_output_and_exit_code(site: Site) -> None:
    code = "import os, sys; print(os.environ['FARRIER_SERVICE'], sys.stdin.read(), sys.argv[1:]); sys.exit(7)"
    done = run(site, "knee/worker", "python", "-c", code, "$HOME", "100%", "two words", given="typed")
    assert done.stdout == "worker typed ['$HOME', '100%', 'two words']\n", done.stderr
    assert done.returncode == 7


def test_it_is_as_confined_as_the_service(site: Site) -> None:
    unit = "systemctl list-units --plain --no-legend 'farrier-run-knee-web-*' | cut -d' ' -f1"
    site.run("nohup farrier-release run knee/web -- sleep 60 >/dev/null 2>&1 </dev/null &")
    site.until(lambda: bool(site.run(unit).strip()), "the command runs")
    name = site.run(unit).strip()
    try:
        hers, ours = (_sandbox(site.run(f"systemctl show {each}")) for each in ("knee-web", name))
        assert ours == hers
    finally:
        site.run(f"systemctl stop {name}")


def _sandbox(shown: str) -> dict[str, str]:
    """What a unit may do and see, out of `systemctl show`; not how it is started, watched and ended."""
    lines = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    kept = r"(Capab|Ambient|Protect|Private|Restrict|SystemCall|NoNew|Lock|Keyring|Memory(Deny|Max)|UMask|User$|Group$"
    kept += r"|Slice$|Proc|IPAddress(Allow|Deny)|ReadWrite|WorkingDir|LoadCred|RemoveIPC|CPUQuota)"
    # Of some lists systemd shows the words in any order.
    return {name: " ".join(sorted(value.split())) for name, value in lines.items() if re.match(kept, name)}


def test_nothing_of_a_command_is_left(site: Site) -> None:
    """Also where its caller went away in the middle."""
    call = [*_RUN, "knee/web", "-l", site.host.name, "--", "sh", "-c", "touch /tmp/mine; echo up; sleep 600"]
    caller = subprocess.Popen(call, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, start_new_session=True)
    assert caller.stdout
    assert caller.stdout.readline() == "up\n"
    os.killpg(caller.pid, 9)
    caller.wait()
    left = "systemctl list-units --all --no-legend 'farrier-run-*'; pgrep -af '[s]leep 600'; ls /tmp /var/tmp"
    site.until(lambda: not re.search("farrier-run|sleep|mine", site.host.run(left).stdout), "it is ended")


def submit_to_keep(site: Site) -> str:
    """Upload a scan that its user wants kept: others are deleted as soon as they were read."""
    with site.client() as client, PHANTOM.open("rb") as file:
        answer = client.post("/upload", files={"file": (PHANTOM.name, file)}, data={"retain_results": "true"})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["job_id"])


def test_an_administrator_sees_and_ends_jobs_by_hand(site: Site) -> None:
    with site.jobs_held():
        job = submit_to_keep(site)
        site.wait_for(job, "processing")
        assert job in site.run("knee-admin jobs")
        shown = json.loads(site.run(f"knee-admin show {job[:12]} --json"))
        assert shown["job"]["state"] == "running"
        assert [each["outcome"] for each in shown["attempts"]] == [None]
        site.run(f"knee-admin cancel {job}")
    with site.client() as client:
        site.until(lambda: client.get(f"/status/{job}").json().get("error_code") == "CANCELLED", "it is cancelled")
    told = site.run(f"knee-admin retry {job}")
    assert site.wait_for(told.split()[-1])["status"] == "complete"
    assert site.host.run("knee-admin retry nonsense").returncode == 3
    asked = run(site, "knee/web", "python", "-m", "app.core.admin", "stats", "--json")
    assert json.loads(asked.stdout)["queues"]["knee"]["jobs"]["cancelled"] >= 1, asked.stderr
