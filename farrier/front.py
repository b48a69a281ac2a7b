"""The front door's own files: Caddy's global options, a site for each hostname, and its unit's drop-in."""

from __future__ import annotations

from farrier.plan.model import Front

_SITES = "/etc/caddy/sites"
_ADMIN = "unix//run/caddy/admin.sock"


def front_files(front: Front) -> dict[str, str]:
    """Path on the host -> text. The fragments that the sites import are farrier-release's, not in here."""
    sites = {f"{_SITES}/{hostname}.caddy": _site(hostname, front) for hostname in front.hostnames}
    return {
        "/etc/caddy/Caddyfile": _caddyfile(front),
        "/etc/systemd/system/caddy.service.d/farrier.conf": _DROP_IN,
    } | sites


def written(texts: dict[str, str]) -> dict[str, dict[str, str]]:
    """The files as they are written: content and mode by path."""
    return {path: {"content": text, "mode": "0644"} for path, text in texts.items()}


def _caddyfile(front: Front) -> str:
    return f"""\
# Farrier: the front door. Sites of other people may lie beside ours in {_SITES}/*.caddy.
{{
	# Its default, a port, would let any local user rewrite the proxy.
	admin {_ADMIN}
	# The internal CA's root is handed out by administrators, not put into the host's own store.
	skip_install_trust
	http_port {front.http_port}
	https_port {front.https_port}
	# Uploads in flight may end after a reload.
	grace_period 60s
	# Faults are logged with the request's headers: not with the one that is a secret.
	log {{
		format filter {{
			wrap json
			fields {{
				request>headers>X-Farrier-Verify delete
			}}
		}}
	}}
}}

import {_SITES}/*.caddy
"""


def _site(hostname: str, front: Front) -> str:
    port = "" if front.https_port == 443 else f":{front.https_port}"
    return f"""\
# Farrier: {hostname}. Each stack's routes are a fragment in the folder; farrier-release writes them.
https://{hostname}{port} {{
	tls internal
	import {_SITES}/{hostname}.d/*.caddy
	# Caddy's own answer to what nobody routes is an empty 200.
	handle {{
		respond "There is nothing at this address." 404
	}}
}}
"""


_DROP_IN = f"""\
# Farrier: Caddy is only ever reloaded (a restart refuses requests), and comes back from a crash.
[Service]
RuntimeDirectory=caddy
RuntimeDirectoryMode=0750
ExecReload=
ExecReload=/usr/bin/caddy reload --config /etc/caddy/Caddyfile --address {_ADMIN} --force
Restart=on-failure
RestartSec=100ms
"""
