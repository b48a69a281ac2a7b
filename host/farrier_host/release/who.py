"""Who gives an order, for locks and history."""

from __future__ import annotations

import argparse
import os
import pwd
import socket


def who(options: argparse.Namespace) -> str:
    """As `--who` says, or else the user here."""
    return str(options.who) or user()


def user() -> str:
    """The user here, also behind sudo."""
    return f"{os.environ.get('SUDO_USER') or pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"
