"""Deploying again, deploying something broken, and going back."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Boot
from tests.e2e.site import ROOT, Site, deploy, site_of

FARRIER = Path(sys.executable).parent / "farrier"


def active(site: Site, stack: str) -> str:
    """The id of the release that is live."""
    return str(json.loads(site.run(f"farrier-release status --json {stack}"))[stack]["active"])


def test_a_second_run_changes_nothing(site: Site) -> None:
    done = deploy(site.host)
    assert done.code == 0, done.output[-3000:]
    assert done.changed == 0


def test_check_mode_on_a_deployed_host_changes_nothing(site: Site, tree: Path) -> None:
    (tree / "stacks" / "hello" / "app" / "hello.py").write_text("async def app(scope, receive, send): ...\n")
    before = site.fingerprint()
    done = deploy(site.host, "--check", "--diff", tree=tree)
    assert done.code == 0, done.output[-3000:]
    assert '-    """Answer every HTTP request with a greeting."""' in done.output
    assert site.fingerprint() == before


def test_the_list_of_tasks_reads_like_a_table_of_contents(site: Site) -> None:
    listed = deploy(site.host, "--list-tasks").output
    phases = ["Plan", "preflight", "base", "conda", "models", "stack", "caddy", "release"]
    places = [listed.index(f"{phase} :" if phase != "Plan" else "Plan\t") for phase in phases]
    assert places == sorted(places)
    no_work = ("Validating arguments", "Leave it where nothing is to be done")
    tasks = [line for line in listed.splitlines() if "TAGS:" in line and not any(name in line for name in no_work)]
    assert len(tasks) <= 20


def test_verify_alone_runs_a_real_job(site: Site) -> None:
    done = deploy(site.host, "-t", "verify")
    assert done.code == 0, done.output[-3000:]
    assert "POST /upload → 201" in done.output
    assert done.changed == 0


def test_changed_code_restarts_only_what_runs_it(site: Site, tree: Path) -> None:
    before = site.run("systemctl show --property=MainPID knee-web knee-redis knee-worker@0 hello-web").split()
    code = tree / "stacks" / "hello" / "app" / "hello.py"
    code.write_text(code.read_text().replace("Hello from Farrier", "Hello again"))
    done = deploy(site.host, tree=tree)
    assert done.code == 0, done.output[-3000:]
    with site.client() as client:
        assert client.get("/hello").text == "Hello again\n"
    after = site.run("systemctl show --property=MainPID knee-web knee-redis knee-worker@0 hello-web").split()
    assert after[:3] == before[:3]
    assert after[3] != before[3]


@pytest.mark.parametrize(
    ("code", "cause"),
    [("raise RuntimeError('broken on purpose')\n", "broken on purpose"), ("app = None\n", "hello-web.service")],
    ids=["does not start", "does not answer"],
)
def test_a_broken_stack_goes_back_and_the_other_is_unharmed(site: Site, tree: Path, code: str, cause: str) -> None:
    before = {stack: active(site, stack) for stack in ("hello", "knee")}
    knee = site.run("systemctl show --property=MainPID knee-web knee-worker@0")
    (tree / "stacks" / "hello" / "app" / "hello.py").write_text(code)
    done = deploy(site.host, tree=tree)
    assert done.code != 0
    assert cause in done.output
    assert f"Release {before['hello']} serves." in done.output
    assert "Not affected: knee." in done.output
    assert {stack: active(site, stack) for stack in ("hello", "knee")} == before
    assert site.run("systemctl show --property=MainPID knee-web knee-worker@0") == knee
    assert site.status_code("/hello") == 200


def test_the_first_host_that_fails_ends_the_run(site: Site, boot: Boot, tree: Path) -> None:
    second = boot(f"{site.host.name}-second", "bookworm", warm=True)
    (tree / "stacks" / "hello" / "app" / "hello.py").write_text("raise RuntimeError('broken on purpose')\n")
    before = Site(second, site.ca).fingerprint()
    done = deploy(site.host, "-l", f"{site.host.name},{second.name}", tree=tree)
    assert done.code != 0
    assert "broken on purpose" in done.output
    assert f"[{second.name}]" not in done.output
    assert Site(second, site.ca).fingerprint() == before


def test_a_stack_whose_verify_fails_goes_back(site: Site, tree: Path) -> None:
    before = active(site, "hello")
    code = tree / "stacks" / "hello" / "app" / "hello.py"
    code.write_text(code.read_text().replace('"status": 200', '"status": 200 if scope["path"] == "/" else 500'))
    done = deploy(site.host, tree=tree)
    assert done.code != 0
    assert "GET /hello answered 500, not 200" in done.output
    assert active(site, "hello") == before
    assert site.status_code("/hello") == 200


def test_a_stack_that_the_inventory_no_longer_names_leaves_the_other_unharmed(site: Site) -> None:
    done = deploy(site.host, "-e", '{"farrier_stacks": ["knee"]}')
    assert done.code == 0, done.output[-3000:]
    assert done.changed == 0
    assert site.status_code("/health/ready") == 200


def test_a_release_that_nobody_confirms_goes_back_by_itself(site: Site) -> None:
    first, second = stage_another(site)
    site.run(f"farrier-release activate hello {second} --confirm-within 2")
    assert active(site, "hello") == second
    site.run(f"timeout 60 sh -c 'until farrier-release status hello | grep -q {first}.*confirmed; do sleep 0.2; done'")
    assert "nobody confirmed it in time" in site.run("farrier-release status hello")
    assert site.status_code("/hello") == 200


def test_a_reboot_takes_back_what_was_not_confirmed(site: Site) -> None:
    first, second = stage_another(site)
    site.run(f"farrier-release activate hello {second} --confirm-within 600")
    site.reboot()
    site.wait_until_serving()
    assert active(site, "hello") == first
    assert "taken back at boot" in site.run("farrier-release status hello")
    site.wait_until_serving("/hello")
    assert site.run("systemctl --failed --plain --no-legend") == ""


def stage_another(site: Site) -> tuple[str, str]:
    """The live release of hello, and a second one that differs in its unit."""
    first = active(site, "hello")
    second = "29990101T000000Z-test"
    site.run(
        f"cd /opt/farrier/hello/releases && rm -rf {second} && cp -r {first} {second} && "
        f"sed -i 's/^Description=.*/Description=another/' {second}/units/hello-web.service"
    )
    return first, second


def test_a_second_host_gets_the_same_envs_and_plan(site: Site, boot: Boot, tmp_path: Path) -> None:
    unicorn = boot("test-unicorn", "trixie", warm=True)
    checked = deploy(unicorn, "--check", "--diff")
    assert checked.code == 0, checked.output[-6000:]
    assert unicorn.run("ls -d /opt/farrier /etc/farrier /var/lib/farrier").stdout == ""
    done = deploy(unicorn)
    assert done.code == 0, done.output[-6000:]
    other = site_of(unicorn, tmp_path)
    assert other.run("ls -d /opt/farrier/envs/*-*") == site.run("ls -d /opt/farrier/envs/*-*")
    plans = [plan_json(each.host.name) for each in (site, other)]
    differing = {
        re.sub(rf"\d+\.\d+\.\d+\.\d+|{site.host.name}|{unicorn.name}", "HOST", line)
        for line in set(plans[0].splitlines()) ^ set(plans[1].splitlines())
    }
    assert plans[0] != plans[1]
    assert all("HOST" in line for line in differing), differing
    other.wait_for(other.submit())
    assert deploy(unicorn).changed == 0


def plan_json(host: str) -> str:
    """What `farrier plan --json` prints."""
    command = [str(FARRIER), "plan", "-i", "inventory/demo", "-l", host, "--json"]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def test_an_extra_authority_is_trusted_by_the_host(site: Site, tmp_path: Path) -> None:
    authority = tmp_path / "test-authority.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test authority", "-days", "1"]
    command += ["-keyout", "/dev/null", "-out", str(authority)]
    subprocess.run(command, check=True, capture_output=True)
    done = deploy(site.host, "-t", "base", "-e", f'{{"base_extra_cas": ["{authority}"]}}')
    assert done.code == 0, done.output[-3000:]
    assert authority.read_text().strip() in site.run("cat /etc/ssl/certs/ca-certificates.crt")
    site.run("rm /usr/local/share/ca-certificates/test-authority.crt && update-ca-certificates")
