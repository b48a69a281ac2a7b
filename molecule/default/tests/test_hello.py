"""What a host does after `site.yml` with the stack `hello`."""

from __future__ import annotations

import httpx
import pytest
from testinfra.host import Host

WEB_SOCKET = "/run/farrier/hello/web.sock"


@pytest.mark.parametrize("unit", ["hello.target", "hello-web.socket", "hello-web.service", "caddy.service"])
def test_unit_is_active(host: Host, unit: str) -> None:
    assert host.run(f"systemctl is-active {unit}").stdout.strip() == "active"


def test_nothing_on_the_host_has_failed(host: Host) -> None:
    assert host.run("systemctl --failed --no-legend --plain").stdout == ""


@pytest.mark.parametrize("unit", ["hello.target", "caddy.service"])
def test_unit_comes_back_after_a_reboot(host: Host, unit: str) -> None:
    assert host.run(f"systemctl is-enabled {unit}").stdout.strip() == "enabled"


def test_page_answers_over_https_with_the_hosts_own_ca(browser: httpx.Client, address: str) -> None:
    assert browser.get(f"https://{address}/hello").status_code == 200


def test_plain_http_is_redirected(browser: httpx.Client, address: str) -> None:
    answer = browser.get(f"http://{address}/hello")
    assert answer.is_redirect
    assert answer.headers["location"] == f"https://{address}/hello"


def test_only_ssh_and_the_front_door_listen_on_the_network(host: Host) -> None:
    listening = host.run("ss -Hltn | awk '{print $4}' | grep -v '^127\\.' | grep -v '^\\[::1\\]'").stdout.split()
    assert {socket.rpartition(":")[2] for socket in listening} == {"22", "80", "443"}


def test_web_service_is_reached_by_a_unix_socket_that_only_the_front_door_may_open(host: Host) -> None:
    socket = host.file(WEB_SOCKET)
    assert socket.is_socket
    assert (socket.user, socket.group, socket.mode) == ("hello", "caddy", 0o660)


def test_stack_has_a_user_of_its_own_without_a_shell(host: Host) -> None:
    user = host.user("hello")
    assert user.exists
    assert user.shell == "/usr/sbin/nologin"


def test_service_runs_as_its_stacks_user(host: Host) -> None:
    pid = host.run("systemctl show -p MainPID --value hello-web.service").stdout.strip()
    assert host.run(f"ps -o user= -p {pid}").stdout.strip() == "hello"


@pytest.mark.parametrize("folder", ["/opt/farrier/envs", "/opt/farrier/hello/code"])
def test_what_is_deployed_belongs_to_root(host: Host, folder: str) -> None:
    foreign = host.run(f"find {folder} ! -user root -o -perm /022 ! -type l | head -3")
    assert foreign.rc == 0, foreign.stderr
    assert foreign.stdout == ""


def test_packages_own_redis_was_never_started(host: Host) -> None:
    assert host.run("ss -Hltn 'sport = :6379'").stdout == ""
