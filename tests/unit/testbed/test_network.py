from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from testbed.network import free_address
from testbed.settings import FIRST_ADDRESS, GATEWAY, NETWORK
from testbed.shell import DriverError

EVERY = set(NETWORK.hosts())


def address(last_byte: int) -> IPv4Address:
    return NETWORK[last_byte]


def test_first_host_gets_the_first_address() -> None:
    assert free_address(set(), last=GATEWAY) == FIRST_ADDRESS


def test_address_of_a_host_just_removed_is_not_given_again_at_once() -> None:
    assert free_address(set(), last=address(10)) == address(11)


def test_taken_addresses_are_skipped() -> None:
    assert free_address({address(11), address(12)}, last=address(10)) == address(13)


def test_it_goes_round_at_the_end_of_the_network() -> None:
    assert free_address({address(10)}, last=address(254)) == address(11)


def test_the_only_free_address_is_found() -> None:
    assert free_address(EVERY - {address(40)}, last=address(40)) == address(40)


def test_full_network_says_what_to_do() -> None:
    with pytest.raises(DriverError, match=r"testbed down"):
        free_address(EVERY, last=GATEWAY)
