"""HTTP for gates and verify runs, with the standard library: through a unix socket, and through the front door."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from pathlib import Path


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class FrontDoor(http.client.HTTPSConnection):
    """HTTPS to this machine's front door, with the Host and SNI of `host`, whatever DNS says of it."""

    def __init__(self, host: str, port: int, local_ca: Path, timeout: float) -> None:
        context = ssl.create_default_context()
        if local_ca.exists():
            context.load_verify_locations(local_ca)
        super().__init__(host, port, timeout=timeout, context=context)
        self._tls = context

    def connect(self) -> None:
        """Open the connection. An address is asked itself (without SNI, the certificate follows the address)."""
        address = self.host if _is_address(self.host) else "127.0.0.1"
        plain = socket.create_connection((address, self.port), self.timeout)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)


def status_of(path: str, url_path: str, timeout: float) -> tuple[int, str]:
    """The status and the body's beginning of a GET through a unix socket; (0, reason) when there is no answer."""
    connection = UnixConnection(path, timeout)
    try:
        connection.request("GET", url_path)
        answer = connection.getresponse()
        return answer.status, answer.read(2000).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, f"no answer: {error}"
    finally:
        connection.close()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
