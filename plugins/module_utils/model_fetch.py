"""Fetch one file over https or from a local path: resumed where it was cut, hashed on the way."""

from __future__ import annotations

import hashlib
import http.client
import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any, BinaryIO

BLOCK = 2**20
TIMEOUT = 30  # seconds without a byte
CUTS = 8  # connections in a row that may break off

# What a broken connection looks like, whatever was happening at the time. A full disk is none of these.
BROKEN = (http.client.HTTPException, urllib.error.URLError, ConnectionError, TimeoutError, ssl.SSLError)


class FetchError(Exception):
    """A source does not give the file; another one may."""


class _TokenStays(urllib.request.HTTPRedirectHandler):
    """A token goes along to another page of its server, and never to the server that keeps the files for it."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        token = req.unredirected_hdrs.get("Authorization")
        if following and token and (following.type, following.host) == (req.type, req.host):
            following.add_unredirected_header("Authorization", token)
        return following


def fetch(source: str | Path, partial: Path, digest: str, size: int, token: str | None = None) -> None:
    """Bring the file to `partial` and to the disk; on return its sha256 is `digest` and its size `size` bytes.

    What `partial` holds of an earlier try is continued. Raises FetchError, and OSError for a disk that fails. A wrong
    content is removed; of a broken transfer what has arrived is kept for the next try.
    """
    resumed = partial.exists()
    actual = _transfer(source, partial, size, token)
    if actual != digest and resumed:
        partial.unlink()  # perhaps it was the earlier part that was wrong
        actual = _transfer(source, partial, size, token)
    if actual != digest:
        partial.unlink()
        raise FetchError(f"wrong sha256: expected {digest}, got {actual}")


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _transfer(source: str | Path, partial: Path, size: int, token: str | None) -> str:
    """Fill `partial` up to `size` bytes and return its hash."""
    with partial.open("ab+") as file:
        digest = _Digest(file)
        if isinstance(source, Path):
            digest.restart()
            with source.open("rb") as original:
                _copy(original, digest, size)
        else:
            _download(source, digest, size, token)
        file.flush()
        os.fsync(file.fileno())
    return digest.value.hexdigest()


class _Digest:
    """A file that is written to its end, and the hash of all that it holds."""

    def __init__(self, file: BinaryIO | IO[bytes]) -> None:
        self.file, self.value, self.size = file, hashlib.sha256(), 0
        file.seek(0)
        while block := file.read(BLOCK):
            self._add(block)

    def write(self, block: bytes) -> None:
        self.file.write(block)
        self._add(block)

    def restart(self) -> None:
        self.file.truncate(0)
        self.value, self.size = hashlib.sha256(), 0

    def _add(self, block: bytes) -> None:
        self.value.update(block)
        self.size += len(block)


def _download(url: str, digest: _Digest, size: int, token: str | None) -> None:
    if digest.size > size:
        digest.restart()
    cuts = 0
    while digest.size < size:
        before = digest.size
        try:
            _request(url, digest, size, token)
            reason: object = "the connection ended early"
        except urllib.error.HTTPError as error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                digest.restart()
                raise FetchError(f"it is smaller than the {size} bytes that the manifest says ({before})") from None
            raise FetchError(f"{error.code} {error.reason}{_hint(error.code, token)}") from None
        except BROKEN as error:
            reason = error
        if digest.size >= size:
            return
        cuts = 1 if digest.size > before else cuts + 1
        if cuts >= CUTS or digest.size == 0:
            raise FetchError(f"{_words(reason)} ({digest.size} of {size} bytes had arrived)")


def _hint(code: int, token: str | None) -> str:
    if code not in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
        return ""
    return ": it does not accept the token" if token else ": it may want a token; name one in models.yml"


def _request(url: str, digest: _Digest, size: int, token: str | None) -> None:
    headers = {"Range": f"bytes={digest.size}-"} if digest.size else {}
    request = urllib.request.Request(url, headers=headers)
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    with urllib.request.build_opener(_TokenStays).open(request, timeout=TIMEOUT) as answer:
        if answer.status != http.client.PARTIAL_CONTENT:
            digest.restart()  # a server without ranges sends the whole
        _copy(answer, digest, size)


def _copy(source: Any, digest: _Digest, size: int) -> None:
    while block := source.read(BLOCK):
        digest.write(block)
        if digest.size > size:
            found = digest.size
            digest.restart()
            raise FetchError(f"it is larger than the {size} bytes that the manifest says (at least {found})")


def _words(reason: object) -> str:
    return str(reason.reason if isinstance(reason, urllib.error.URLError) else reason) or type(reason).__name__
