"""What the measuring programs on the host share: HTTP to a unix socket, a small scan, the ledger's times."""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
import struct
from pathlib import Path
from typing import Any

STATE = Path("/var/lib/farrier/knee")
BOUNDARY = "bench"
KIND = f"multipart/form-data; boundary={BOUNDARY}"


class Connection(http.client.HTTPConnection):
    """Keeps one connection to a unix socket, and opens it again when the server closed it."""

    def __init__(self, path: str) -> None:
        super().__init__("bench")
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> bytes:
        """The body of an answer; raises RuntimeError for one of 400 and above."""
        self.request(method, path, body, {"Content-Type": kind} if kind else {})
        answer = self.getresponse()
        said = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {said!r}")
        return said


def form() -> bytes:
    """An upload of a scan of 12 x 12 x 12 voxels."""
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, 12, 12, 12, 1, 1, 1, 1)
    struct.pack_into("<2h", head, 70, 2, 8)
    struct.pack_into("<f", head, 108, 352.0)
    head[344:348] = b"n+1\0"
    disposition = 'Content-Disposition: form-data; name="file"; filename="small.nii"'
    return f"--{BOUNDARY}\r\n{disposition}\r\n\r\n".encode() + head + bytes(12**3) + f"\r\n--{BOUNDARY}--\r\n".encode()


def submit(connection: Connection, scan: bytes) -> str:
    """Upload a scan; the job's id."""
    return str(json.loads(connection.ask("POST", "/upload", scan, KIND))["job_id"])


def times(job: str) -> tuple[float, float]:
    """When the job's attempt began and ended, in seconds UTC, as the ledger has it."""
    ledger = sqlite3.connect(f"file:{STATE}/ledger/ledger.sqlite?mode=ro", uri=True)
    try:
        query = "SELECT began_wall, ended_wall FROM attempts WHERE job_id = ?"
        began, ended = ledger.execute(query, (job,)).fetchone()
    finally:
        ledger.close()
    return float(began), float(ended)


def told(event: str) -> dict[str, Any] | None:
    """The data of one server-sent event, None where it has none."""
    data = next((line[6:] for line in event.splitlines() if line.startswith("data: ")), None)
    found: dict[str, Any] | None = json.loads(data) if data else None
    return found
