"""Where the test hosts live on this machine, and the numbers that the driver fixes."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

STATE = Path("/var/lib/farrier-testbed")
CACHE = Path("/var/cache/farrier-testbed")
HOSTS = STATE / "hosts"
SERVERS = STATE / "servers"
LOCKS = STATE / "locks"
KEY = STATE / "key"

NETWORK = IPv4Network("10.88.0.0/24")
GATEWAY = NETWORK[1]
FIRST_ADDRESS = NETWORK[10]
BRIDGE = "brfarrier"
NFT_TABLE = "farrier"

SUITES = ("bookworm", "trixie")
# What a bare Debian server of these users has before Farrier comes: systemd, SSH, Python and the certificates.
BARE_PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "sudo",
    "systemd",
    "systemd-sysv",
)
# What the roles install: on a warm host they find it there, which saves each test run the downloads.
WARM_PACKAGES = ("caddy", "curl", "python3-venv", "redis-server")
WARM_SERVICES = ("caddy.service", "redis-server.service")

IMAGE_DAYS = 7  # an older image is built anew, so that hosts carry the archive's current packages
BOOT_SECONDS = 60  # until a host that does not come up is an error; one alone needs about 1 s
EXTRA_CERTIFICATES = Path("/usr/local/share/ca-certificates")
