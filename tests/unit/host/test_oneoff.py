"""A command in a service's place: what of the service's unit it gets."""

from __future__ import annotations

import pytest

from farrier_host.release.files import Refused
from farrier_host.release.oneoff import properties

UNIT = """\
# /etc/systemd/system/knee-web.service
[Unit]
Description=knee web
StartLimitBurst=5

[Service]
Type=notify
User=knee
; a comment
Environment=FARRIER_BOOT_ID=%b
Environment="A=50%% of it"
Environment=FARRIER_INSTANCE=%i
LoadCredential=token:/etc/farrier/knee/credentials/token
ExecStart=/usr/bin/python3 -I guard.py \\
  --socket x \\
  User=root
ExecStartPre=/bin/true
RuntimeDirectory=farrier/knee
KillMode=mixed
TimeoutStopSec=45
WatchdogSec=30
Restart=always
StandardOutput=journal
CapabilityBoundingSet=
SystemCallFilter=@system-service
SystemCallFilter=~@privileged

[Install]
WantedBy=knee.target
# /etc/systemd/system/knee-web.service.d/override.conf
[Service]
MemoryMax=2G
"""
SPECIFIERS = {"%": "%", "b": "0123", "i": "run"}


def test_surroundings_are_kept_in_their_order_and_the_services_own_life_is_not() -> None:
    assert properties(UNIT, SPECIFIERS) == [
        "User=knee",
        "Environment=FARRIER_BOOT_ID=0123",
        'Environment="A=50% of it"',
        "Environment=FARRIER_INSTANCE=run",
        "LoadCredential=token:/etc/farrier/knee/credentials/token",
        "CapabilityBoundingSet=",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged",
        "MemoryMax=2G",
    ]


def test_what_a_command_by_hand_cannot_have_is_refused() -> None:
    with pytest.raises(Refused, match="%q"):
        properties("[Service]\nWorkingDirectory=/srv/%q\n", SPECIFIERS)
