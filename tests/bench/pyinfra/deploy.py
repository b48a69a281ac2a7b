"""What a second run of site.yml checks, as a pyinfra deploy: run by `make bench` for comparison, and by nothing else.

Its input is `host.json`, whose path is the data `wanted`. The contents of conda environments are left out: pyinfra has
no counterpart for them.
"""

from __future__ import annotations

import json
from pathlib import Path

from pyinfra import host
from pyinfra.facts.server import Command
from pyinfra.operations import apt, files, server, systemd

wanted = json.loads(Path(host.data.wanted).read_text())

apt.packages(packages=wanted["packages"])
for user in wanted["users"]:
    server.group(group=user["user"], system=True)
    server.user(user=user["user"], group=user["user"], home=user["home"], shell="/usr/sbin/nologin", system=True)
for folder in wanted["folders"]:
    files.directory(path=folder["path"], user=folder["user"], group=folder["user"], mode=folder["mode"])
for tree in wanted["trees"]:
    files.sync(src=tree["src"], dest=tree["dest"])
for file in wanted["files"]:
    files.put(src=file["src"], dest=file["dest"], mode=file["mode"])
for path in wanted["present"]:
    files.file(path=path)
for unit in wanted["units"]:
    systemd.service(service=unit, running=True, enabled=True)
for gate in wanted["gates"]:
    command = f"curl --silent --output /dev/null --write-out '%{{http_code}}' --unix-socket {gate['socket']}"
    status = host.get_fact(Command, f"{command} http://localhost{gate['path']}")
    if status != "200":
        raise SystemExit(f"{gate['unit']} is not ready: {status}")
