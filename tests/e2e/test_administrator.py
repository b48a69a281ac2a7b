"""What an administrator does with systemctl and journalctl, and a reboot."""

from __future__ import annotations

import json

import pytest

from tests.e2e.site import Site

# Unit and the exposure that it may have at most, in systemd's points of ten.
EXPOSURES = {
    "knee-web.service": 1.5,
    "hello-web.service": 1.5,
    "knee-redis.service": 1.5,
    "knee-worker@0.service": 2.0,
    "knee-cleanup.service": 1.5,
}


@pytest.mark.parametrize("unit", EXPOSURES)
def test_exposure_stays_low(site: Site, unit: str) -> None:
    line = site.run(f"systemd-analyze security --no-pager {unit} | tail -1")
    exposure = float(line.split(":")[1].split()[0])
    assert exposure <= EXPOSURES[unit]


def test_restarting_the_web_service_keeps_requests_waiting_not_failing(site: Site) -> None:
    invocation = "systemctl show --property=InvocationID --value knee-web"
    before, answers = site.run(invocation), set()
    site.run("systemctl restart --no-block knee-web")
    with site.client() as client:
        while site.run(invocation) in (before, "\n"):
            answers.add(client.get("/health/live").status_code)
        answers.add(client.get("/health/live").status_code)
    assert answers == {200}


def test_stopping_the_target_stops_every_unit_and_starting_brings_all_back(site: Site) -> None:
    site.run("systemctl stop knee.target")
    # The target's own stop job ends first; those of its units follow.
    left = 'systemctl list-units --plain --no-legend --state=active "knee-*" | grep -q .'
    site.run(f"timeout 60 sh -c 'while {left}; do sleep 0.2; done'")
    assert site.status_code("/hello") == 200
    site.run("systemctl start knee.target")
    site.wait_until_serving()


def test_a_killed_worker_comes_back_and_its_job_ends(site: Site) -> None:
    job = site.submit()
    site.run("systemctl kill --signal=KILL knee-worker@0")
    site.wait_for(job)


def test_the_journal_holds_all_of_a_stack(site: Site) -> None:
    named = site.run("journalctl --no-pager --output=json --output-fields=SYSLOG_IDENTIFIER -u 'knee-*' -n 2000")
    identifiers = {json.loads(line).get("SYSLOG_IDENTIFIER") for line in named.splitlines()}
    assert {"knee-web", "knee-worker@0", "knee-redis"} <= identifiers


def test_nothing_listens_but_ssh_and_the_front_door(site: Site) -> None:
    """Neither the packages' own services nor Caddy's admin port, which any local user could use."""
    listeners = site.run("ss -Hltn | awk '{print $4}' | sed 's/.*://' | sort -un").split()
    assert listeners == ["22", "80", "443"]
    assert site.host.run("runuser -u nobody -- stat /run/caddy/admin.sock").returncode != 0


def test_secrets_are_in_no_unit_and_no_process(site: Site) -> None:
    secrets = [site.run(f"cat /etc/farrier/knee/credentials/{name}") for name in ("redis-password", "verify-token")]
    shown = site.run("systemctl show 'knee-*'; cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' ' '")
    assert all(len(secret) > 30 and secret not in shown for secret in secrets)


def test_another_user_reads_neither_data_nor_secrets(site: Site) -> None:
    for path in ("/var/lib/farrier/knee/ledger", "/etc/farrier/knee/credentials"):
        assert site.host.run(f"runuser -u hello -- ls {path}").returncode != 0
    ping = "runuser -u hello -- redis-cli -s /run/farrier/knee/redis/redis.sock ping"
    assert "PONG" not in site.host.run(ping).stdout


def test_after_a_reboot_everything_serves_again(site: Site) -> None:
    job = site.submit()
    boot = site.run("cat /proc/sys/kernel/random/boot_id")
    site.reboot()
    site.wait_until_serving()
    assert site.run("cat /proc/sys/kernel/random/boot_id") != boot
    site.wait_for(job)
    assert site.status_code("/hello") == 200
    assert site.run("systemctl --failed --plain --no-legend") == ""
