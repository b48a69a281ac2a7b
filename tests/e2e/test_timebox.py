"""Stacks that were given a time: announced, extended, ended with a job in hand, and over while the host was down."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from testbed import host, ssh
from tests.e2e.site import Site, deploy

CONTACT = "Lab admin <lab@example.org>"


def give(site: Site, stack: str, time: str) -> None:
    """Give a stack a time on the host itself."""
    site.run(f"farrier-release deploy {stack} {site.statuses(stack)['active']} --for {time}")


def box(site: Site, stack: str) -> str:
    """What status says of the stack's time; empty for ever."""
    found = site.statuses(stack)["box"]
    return str(found["text"]) if found else ""


@pytest.fixture
def terminal(site: Site) -> Iterator[subprocess.Popen[str]]:
    """Somebody who is logged in and reads."""
    command = ssh.argv(site.host.address, ["cat"])
    seen = subprocess.Popen([command[0], "-tt", *command[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    site.until(lambda: "pts" in site.host.run("who").stdout, "the terminal is there")
    yield seen
    seen.kill()
    seen.wait()


@pytest.fixture
def serving(site: Site) -> Iterator[Site]:
    """The site, whose stacks serve for ever again at the end."""
    yield site
    for stack in ("hello", "knee"):
        if site.statuses(stack)["active"] is None:
            site.run(f"farrier-release rollback {stack}")
        give(site, stack, "ever")


def read_until(terminal: subprocess.Popen[str], word: str) -> str:
    """What came to the terminal, up to a line with that word; the test's own time limit ends the waiting."""
    assert terminal.stdout is not None
    lines: list[str] = []
    while not lines or word not in lines[-1]:
        line = terminal.stdout.readline()
        assert line, f"the terminal ended: {lines}"
        lines.append(line)
    return "".join(lines)


def test_a_time_is_told_announced_extended_and_taken_back(serving: Site, terminal: subprocess.Popen[str]) -> None:
    # Two seconds more than the last announcement.
    done = deploy(serving.host, "-e", json.dumps({"farrier_for": "302s", "farrier_contact": CONTACT}))
    assert done.code == 0, done.output[-3000:]
    assert "hello: until " in done.output
    told = read_until(terminal, "Ask ")
    assert "ends in 5 minutes" in told
    assert "farrier-release extend" in told
    assert f"Ask {CONTACT}." in told
    assert CONTACT in box(serving, "hello")

    assert "hello: until" in serving.run("farrier-release extend hello 1h")
    assert "in" not in box(serving, "hello").split(), "it is no longer near"
    assert "is no time: write 30m, 2h" in serving.host.run("farrier-release extend hello 1x").stderr
    again = deploy(serving.host)
    assert again.code == 0
    assert "hello: stays for ever from now on; it would have ended at" in again.output
    assert box(serving, "hello") == ""
    assert serving.host.run("systemctl list-timers --all 'farrier-box@*' | grep -c farrier-box").stdout.strip() == "0"


def test_a_time_that_is_none_is_refused_before_anything_is_done(site: Site) -> None:
    refused = deploy(site.host, "-e", "farrier_for=tomorrow")
    assert refused.code != 0
    assert "farrier_for: 'tomorrow' is no time: write 30m, 2h or 1d12h" in refused.output


def test_at_its_end_a_job_in_hand_ends_first_and_a_rollback_brings_the_stack_back(serving: Site) -> None:
    with serving.jobs_held():
        job = serving.submit()
        serving.until(lambda: serving.held() == 1, "the job is held")
        give(serving, "knee", "1s")
        serving.until(lambda: "ends job" in json.dumps(serving.statuses()["units"]), "the worker ends its job")
        assert "it ends" in box(serving, "knee")
        assert serving.status_code("/health/live") == 200, "its users are served as long as their job runs"
        inhibitors = "systemd-inhibit --list --no-pager | grep -c 'Farrier.*1 job runs (knee-worker@0)'"
        serving.until(lambda: serving.host.run(inhibitors).stdout.strip() == "2", "a reboot is locked and delayed")
        refused = serving.host.run("farrier-release extend knee 1h")
        assert refused.returncode == 2
        assert "workers end their jobs" in refused.stderr
    serving.until(lambda: serving.statuses()["active"] is None, "it has ended")
    assert serving.host.run("pgrep -u knee").stdout == "", "no process holds a card"
    assert "its time was over" in serving.run("farrier-release status knee")
    serving.run("farrier-release rollback knee")
    serving.wait_until_serving()
    assert serving.wait_for(job)["status"] == "complete"


@pytest.mark.slow
def test_a_time_that_is_over_while_the_host_is_down(serving: Site, terminal: subprocess.Popen[str]) -> None:
    give(serving, "knee", "1h")
    give(serving, "hello", "2s")
    # Its timer is kept from coming, as if the host had been down meanwhile.
    serving.run("systemctl stop farrier-box@hello.timer")
    assert serving.statuses("hello")["active"] is not None, "it was too late to stop the timer"
    end = json.loads(serving.run("cat /opt/farrier/hello/box.json"))["until"]
    serving.run(f"until [ $(date +%s) -ge {end} ]; do sleep 0.1; done")
    with serving.jobs_held():
        job = serving.submit()
        serving.until(lambda: "Farrier" in serving.run("systemd-inhibit --list --no-pager"), "the reboot is delayed")
        serving.reboot()
        assert "goes down while 1 job runs (knee-worker@0)" in read_until(terminal, "goes down")
        host.await_running(serving.host)
    assert serving.statuses("hello")["active"] is None
    assert serving.run("journalctl -b -o cat -u hello-web.service | grep -c Started; true").strip() == "0"
    assert "until" in box(serving, "knee")
    serving.wait_until_serving()
    assert serving.wait_for(job)["status"] == "complete"
    serving.until(
        lambda: not serving.host.run("ls /etc/systemd/system/farrier-box@hello.timer").stdout, "nothing is left"
    )
