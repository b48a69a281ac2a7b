"""The people on a host: whom they may ask, and how they are told."""

from __future__ import annotations

import socket
import subprocess
import sys

from farrier_host.release.layout import Layout


def contact(layout: Layout) -> str:
    """Whom to ask about this host, as the inventory says (`farrier_contact`); empty where it says nothing."""
    try:
        return layout.contact.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def host() -> str:
    """The name of the machine."""
    return socket.gethostname()


def tell_everybody(text: str) -> None:
    """Write to every terminal where somebody is logged in, and to the journal of the unit that says it."""
    print(text, flush=True)
    try:
        subprocess.run(["wall"], input=f"{text}\n", check=False, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired) as error:  # a terminal that hangs must not keep anything from ending
        print(f"nobody could be told by `wall`: {error}", file=sys.stderr, flush=True)
