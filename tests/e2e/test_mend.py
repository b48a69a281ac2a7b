"""A deploy without changes looks at what is live, and mends what somebody, or a fault, did to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.site import Site, deploy

_BREAK_WEB = (
    "sed -i 's/^ExecStart=.*/ExecStart=\\/bin\\/false/' /etc/systemd/system/hello-web.service; "
    "systemctl daemon-reload; systemctl restart hello-web || true"
)
# What was done on the host -> what the play says that it mended.
DAMAGE = {
    "a unit file edited": (_BREAK_WEB, "hello-web.service is not what the release says"),
    "a unit file removed": (
        "systemctl stop knee-worker@0; rm /etc/systemd/system/knee-worker@.service; systemctl daemon-reload",
        "knee-worker@.service is not what the release says",
    ),
    "a service stopped": ("systemctl stop knee-redis", "knee-redis.service does not run"),
    "a stack stopped": ("systemctl stop knee.target", "knee-web.service does not run"),
    "a route damaged": (
        "echo garbage >> $(ls /etc/caddy/sites/*.d/knee.caddy)",
        "knee.caddy is not what the release says",
    ),
    "a route removed": ("rm /etc/caddy/sites/*.d/hello.caddy", "hello.caddy is not what the release says"),
    "a credential deleted": (
        "rm /etc/farrier/knee/credentials/redis-password",
        "knee-redis.service started before its credentials changed",
    ),
    "the link for people": ("rm /opt/farrier/knee/current", "the link `current` leads elsewhere"),
}


@pytest.fixture(autouse=True, scope="module")
def _this_trees_release(site: Site) -> None:
    """Other tests leave other releases: what is live here shall be what a deploy would stage."""
    assert deploy(site.host).code == 0


@pytest.fixture(autouse=True)
def _well_afterwards(site: Site) -> Iterator[None]:
    yield
    site.wait_until_serving()
    site.wait_until_serving("/hello")
    site.wait_for(site.submit())
    assert site.run("systemctl --failed --plain --no-legend") == ""


@pytest.mark.parametrize(("damage", "told"), DAMAGE.values(), ids=DAMAGE)
def test_a_deploy_mends_what_is_live(site: Site, damage: str, told: str) -> None:
    site.run(damage)
    done = deploy(site.host)
    assert done.code == 0, done.output[-3000:]
    assert f"mended: {told}" in done.output.replace("\n        ", " ") or told in done.output, done.output[-2500:]


def test_what_an_administrator_disabled_stays_down(site: Site) -> None:
    site.run("systemctl disable --now knee-worker@0")
    try:
        done = deploy(site.host)
        assert done.code == 0, done.output[-3000:]
        assert site.host.run("systemctl is-active knee-worker@0").stdout.strip() == "inactive"
    finally:
        site.run("systemctl enable --now knee-worker@0")


@pytest.mark.parametrize("damage", ["rm", "truncate -s 0"])
def test_a_lost_journal_of_releases_costs_nothing(site: Site, damage: str) -> None:
    before = site.run("readlink /opt/farrier/hello/current")
    site.run(f"{damage} /opt/farrier/hello/state.json")
    assert before.strip().rpartition("/")[2] in site.run("farrier-release status hello")
    done = deploy(site.host)
    assert done.code == 0, done.output[-3000:]
    assert site.run("readlink /opt/farrier/hello/current") == before


def test_deleted_releases_are_staged_anew(site: Site) -> None:
    site.run("rm -r /opt/farrier/knee/releases")
    done = deploy(site.host)
    assert done.code == 0, done.output[-3000:]


def test_the_verify_token_is_in_no_log(site: Site) -> None:
    site.run("systemctl stop knee-web.socket knee-web")
    site.host.run("farrier-release verify knee")
    site.run("systemctl start knee-web.socket knee-web")
    token = site.run("cat /etc/farrier/knee/credentials/verify-token")
    assert token not in site.run("journalctl --no-pager --boot")
    assert "X-Farrier-Verify" not in site.run("journalctl --no-pager --boot -u caddy --output cat")
