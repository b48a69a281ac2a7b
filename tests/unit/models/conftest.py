"""A real https server with a certificate of its own, which can break off, refuse ranges and lie."""

from __future__ import annotations

import datetime as dt
import hashlib
import http.server
import ipaddress
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import ansible.module_utils
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ROOT = Path(__file__).parents[3]
# as Ansible does by its setting module_utils: the store is imported here by the name that the module uses
ansible.module_utils.__path__.append(str(ROOT / "plugins" / "module_utils"))


@dataclass
class Web:
    """What the server gives, and what it was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)  # the next answers break off after so many bytes
    ranges: bool = True
    requests: list[tuple[str, str | None]] = field(default_factory=list)  # path, Range
    token: str | None = None  # without which the server gives nothing
    moved: dict[str, str] = field(default_factory=dict)  # path -> where it lies now
    tokens: list[str | None] = field(default_factory=list)  # that came with the requests

    def put(self, name: str, content: bytes) -> str:
        """Offer a file; returns its URL."""
        self.files[f"/{name}"] = content
        return f"{self.url}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    web: Web

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.web.requests.append((self.path, wanted))
        self.web.tokens.append(self.headers.get("Authorization"))
        if self.web.token and self.web.tokens[-1] != f"Bearer {self.web.token}":
            self.send_error(403 if self.web.tokens[-1] else 401)
            return
        if self.path in self.web.moved:
            self.send_response(302)
            self.send_header("Location", self.web.moved[self.path])
            self.end_headers()
            return
        content = self.web.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.web.ranges else 0
        if start >= len(content) > 0:
            self.send_error(416)
            return
        self.send_response(206 if wanted and self.web.ranges else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + self.web.cuts.pop(0) if self.web.cuts else len(content)
        self.wfile.write(content[start:end])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        del format, args


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(pem)
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return folder / "ca.pem", folder / "key.pem"


@contextmanager
def serving(certificate: Path, key: Path) -> Iterator[Web]:
    """A running server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    web = Web()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"web": web}))
    server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]  # noqa: ARG005 - clients hang up
    server.socket = context.wrap_socket(server.socket, server_side=True)
    web.url = f"https://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield web
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def untrusted_web(tmp_path: Path) -> Iterator[Web]:
    """A server whose CA this machine does not know."""
    with serving(*make_certificate(tmp_path)) as web:
        yield web


@pytest.fixture
def other_web(web: Web, tmp_path: Path) -> Iterator[Web]:
    """A second server, which the first one may send its clients to."""
    del web
    with serving(tmp_path / "ca.pem", tmp_path / "key.pem") as other:
        yield other


@pytest.fixture
def web(untrusted_web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Web:
    """A server whose CA is among the system's."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return untrusted_web


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB; mounting it needs root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
