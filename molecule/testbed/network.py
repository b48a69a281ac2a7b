"""The test network: a bridge with this machine as gateway, NAT to the outside, one network namespace per host."""

from __future__ import annotations

import json
from collections.abc import Collection
from ipaddress import IPv4Address
from pathlib import Path

from testbed.settings import BRIDGE, FIRST_ADDRESS, GATEWAY, NETWORK, NFT_TABLE, STATE
from testbed.shell import DriverError, attempt, run

_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_FORWARD_BEFORE = STATE / "ip_forward.before"
_LAST = STATE / "address.last"
_NAMESPACE_PREFIX = "farrier-"
_NAT = f"""
add table ip {NFT_TABLE}
delete table ip {NFT_TABLE}
table ip {NFT_TABLE} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    ip saddr {NETWORK} ip daddr != {NETWORK} masquerade
  }}
}}
"""


def free_address(taken: Collection[IPv4Address], last: IPv4Address) -> IPv4Address:
    """The next address of the test network after `last` that no host has, going round; DriverError when all are taken.

    Going round keeps a new host off the address of one that was just removed: SSH connections kept open by Ansible
    would still point to the old one.
    """
    usable = [address for address in NETWORK.hosts() if address >= FIRST_ADDRESS]
    in_turn = [address for address in usable if address > last] + [address for address in usable if address <= last]
    free = next((address for address in in_turn if address not in taken), None)
    if free is None:
        raise DriverError(f"no address is free in {NETWORK}: remove hosts with `testbed down NAME` or `testbed gc`")
    return free


def allocate(taken: Collection[IPv4Address]) -> IPv4Address:
    """A free address, remembered as the last one given. Call it with the network lock held."""
    last = IPv4Address(_LAST.read_text()) if _LAST.is_file() else GATEWAY
    address = free_address(taken, last)
    _LAST.write_text(str(address))
    return address


def namespace(host: str) -> str:
    """Name of a host's network namespace."""
    return _NAMESPACE_PREFIX + host


def namespaces() -> list[str]:
    """Names of the hosts that have a network namespace."""
    found = json.loads(run("ip", "-json", "netns", "list") or "[]")
    return [row["name"].removeprefix(_NAMESPACE_PREFIX) for row in found if row["name"].startswith(_NAMESPACE_PREFIX)]


def ensure_bridge() -> None:
    """Bridge, address, forwarding and NAT; what is there already stays. Call it with the network lock held."""
    if not attempt("ip", "link", "show", BRIDGE):
        run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "address", "replace", f"{GATEWAY}/{NETWORK.prefixlen}", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    if _FORWARD.read_text().strip() != "1":
        _FORWARD_BEFORE.write_text(_FORWARD.read_text())
        _FORWARD.write_text("1")
    if not attempt("nft", "list", "table", "ip", NFT_TABLE):
        run("nft", "-f", "-", stdin=_NAT)


def attach(host: str, address: IPv4Address) -> None:
    """Give a host its namespace, with one interface on the bridge and the default route through this machine."""
    inside, outer = namespace(host), _interface(address)
    run("ip", "netns", "add", inside)
    run("ip", "link", "add", outer, "type", "veth", "peer", "name", "host0", "netns", inside)
    run("ip", "link", "set", outer, "master", BRIDGE, "up")
    run("ip", "-n", inside, "link", "set", "lo", "up")
    run("ip", "-n", inside, "address", "add", f"{address}/{NETWORK.prefixlen}", "dev", "host0")
    run("ip", "-n", inside, "link", "set", "host0", "up")
    run("ip", "-n", inside, "route", "add", "default", "via", str(GATEWAY))


def detach(host: str, address: IPv4Address | None) -> None:
    """Take interface and namespace away; no error when they are gone."""
    if address is not None:
        attempt("ip", "link", "delete", _interface(address))
    attempt("ip", "netns", "delete", namespace(host))


def plug(address: IPv4Address | str, *, is_in: bool) -> None:
    """Put a host's network cable in, or pull it out."""
    run("ip", "link", "set", _interface(IPv4Address(address)), "up" if is_in else "down")


def remove_bridge() -> None:
    """Remove bridge and NAT, and put forwarding back to what it was before the first host."""
    attempt("ip", "link", "delete", BRIDGE)
    attempt("nft", "delete", "table", "ip", NFT_TABLE)
    if _FORWARD_BEFORE.is_file():
        _FORWARD.write_text(_FORWARD_BEFORE.read_text())
        _FORWARD_BEFORE.unlink()


def _interface(address: IPv4Address) -> str:
    return f"farrier{int(address) - int(NETWORK.network_address)}"
