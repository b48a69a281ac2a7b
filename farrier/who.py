"""Who deploys, for the host's history."""

from __future__ import annotations

import getpass
import os
import socket


def who() -> str:
    """`login@controller`; behind sudo the person, not root."""
    try:
        login = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some CI
        login = str(os.getuid())
    return f"{login}@{socket.gethostname()}"
