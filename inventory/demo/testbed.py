#!/usr/bin/env python3
"""Dynamic inventory: the test hosts that run now, with the addresses that their driver gave them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_TESTBED = Path(__file__).resolve().parents[2] / ".venv" / "bin" / "testbed"
_SSH = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"


def main() -> None:
    """Answer `--list` as ansible-inventory asks it."""
    listed = subprocess.run([_TESTBED, "list", "--json"], check=True, capture_output=True, text=True).stdout
    variables = {
        host["name"]: {
            "ansible_host": host["address"],
            "ansible_user": host["user"],
            "ansible_ssh_private_key_file": host["identity_file"],
            "ansible_ssh_common_args": _SSH,
        }
        for host in json.loads(listed)
        if host["alive"]
    }
    json.dump({"_meta": {"hostvars": variables}, "hosts": {"hosts": sorted(variables)}}, sys.stdout)


if __name__ == "__main__":
    main()
