"""A deploy without changes looks at what is live, and mends what somebody, or a fault, did to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cutting import runs, wanted
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


# What was done to what roles put on the host -> how it looks. One damage a role at a time: each must be found alone.
_LIVE = "$(grep -o '{}' /opt/farrier/knee/current/plan.json | head -n 1)"  # what the live release names, not others
_ENV = _LIVE.format("/opt/farrier/envs/app-[0-9a-f]*")
_CODE = _LIVE.format("/opt/farrier/knee/code/app-[0-9a-f]*")
_CONFIG = _LIVE.format("/opt/farrier/knee/config/pipelines-[0-9a-f]*.json")
_ACL = "/etc/farrier/knee/credentials/redis-users.acl"
_TOOL = "/opt/farrier/host/farrier_host/release/health.py"
DRIFT = {
    "contents": {
        "chmod 0755 /etc/farrier/knee/credentials": "stat -c %a /etc/farrier/knee/credentials",
        f"cd {_ENV}/bin && rm python3.11 && echo changed >python3.11": f"sha256sum {_ENV}/bin/python3.11",
        "rm /srv/models/*/1/*.json": "cd /srv/models && sha256sum */1/*.json",
        f"rm {_CODE}/app/knee/web.py": f"sha256sum {_CODE}/app/knee/web.py",
        "echo '# mine' >>/etc/caddy/Caddyfile": "sha256sum /etc/caddy/Caddyfile",
        f"echo '# mine' >>{_TOOL}": f"sha256sum {_TOOL}",
    },
    "owners, sizes and modes": {
        "chown root /var/lib/farrier/knee/uploads": "stat -c '%U %G %a' /var/lib/farrier/knee/uploads",
        f"cd {_ENV}/lib/python3*/site-packages/celery && rm app/base.py && touch app/base.py": (
            f"sha256sum {_ENV}/lib/python3*/site-packages/celery/app/base.py"
        ),
        "rm /srv/models/*/1/.complete": "cd /srv/models && sha256sum */1/.complete | wc -l",
        f"echo >>{_CONFIG}": f"sha256sum {_CONFIG}",
        "systemctl disable --quiet --now caddy": "systemctl is-active caddy; systemctl is-enabled caddy",
        "chmod 0700 /usr/local/sbin/farrier-release": "stat -c %a /usr/local/sbin/farrier-release",
    },
    "what others derive from": {
        f"echo damaged >{_ACL}": f"sha256sum {_ACL}",
        "rm /opt/farrier/envs/web-*/.ready": "ls /opt/farrier/envs/*/.ready",
        "echo >>$(readlink -f /opt/farrier/hello/current)/plan.json": "sha256sum /opt/farrier/hello/current/plan.json",
        "rm /etc/systemd/system/caddy.service.d/farrier.conf": "ls /etc/systemd/system/caddy.service.d",
        "systemctl disable --quiet farrier-release-recover": "systemctl is-enabled farrier-release-recover",
    },
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
    # Its timer may have come while the test had the state in disorder; it must work again.
    site.run("systemctl start knee-cleanup.service")
    assert site.run("systemctl --failed --plain --no-legend") == ""


@pytest.mark.parametrize(("damage", "told"), DAMAGE.values(), ids=DAMAGE)
def test_a_deploy_mends_what_is_live(site: Site, damage: str, told: str) -> None:
    site.run(damage)
    done = deploy(site.host)
    assert done.code == 0, done.output[-3000:]
    assert f"mended: {told}" in done.output.replace("\n        ", " ") or told in done.output, done.output[-2500:]


@pytest.mark.parametrize("damages", DRIFT.values(), ids=DRIFT)
def test_what_a_role_put_there_is_looked_at_and_mended(site: Site, damages: dict[str, str]) -> None:
    before = {damage: site.run(look) for damage, look in damages.items()}
    for damage in damages:
        site.run(damage)
    unseen = [damage for damage, look in damages.items() if site.host.run(look).stdout == before[damage]]
    assert unseen == []
    done = deploy(site.host)
    assert done.code == 0, done.output[-3000:]
    assert {damage: site.host.run(look).stdout for damage, look in damages.items()} == before
    again = deploy(site.host)
    assert (again.code, again.changed) == (0, 0), again.output[-3000:]


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


def test_a_changed_release_after_a_deleted_one_leaves_no_old_process(site: Site, tree: Path) -> None:
    site.run("rm -r /opt/farrier/knee/releases")
    (tree / "app" / "__init__.py").write_text('"""Changed after the folder was gone."""\n')
    done = deploy(site.host, tree=tree)
    assert done.code == 0, done.output[-3000:]
    assert runs(site) == wanted(site)


def test_the_verify_token_is_in_no_log(site: Site) -> None:
    site.run("systemctl stop knee-web.socket knee-web")
    site.host.run("farrier-release verify knee")
    site.run("systemctl start knee-web.socket knee-web")
    token = site.run("cat /etc/farrier/knee/credentials/verify-token")
    assert token not in site.run("journalctl --no-pager --boot")
    assert "X-Farrier-Verify" not in site.run("journalctl --no-pager --boot -u caddy --output cat")
