"""What Ansible's inventory says of one host."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from farrier.problems import InvalidInput, Problem, nearest


def inventory_variables(root: Path, inventory: str, host: str) -> dict[str, Any]:
    """The host's variables as Ansible reads them. Raises InvalidInput for a host that the inventory does not know."""
    if not (root / inventory).exists():
        raise InvalidInput([Problem(inventory, 0, "", "there is no such inventory")])
    tool = Path(sys.executable).parent / "ansible-inventory"
    command = [str(tool), "-i", inventory, "--list"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=root)
    if done.returncode != 0:
        raise InvalidInput([Problem(inventory, 0, "", (done.stderr or done.stdout).strip())])
    groups = json.loads(done.stdout)
    variables: dict[str, Any] = groups.pop("_meta").get("hostvars", {})
    known = {name for group in groups.values() for name in group.get("hosts", ())}
    if host not in known:
        raise InvalidInput([Problem(inventory, 0, host, f"there is no such host: {nearest(host, sorted(known))}")])
    return dict(variables.get(host, {}))
