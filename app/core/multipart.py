"""Reads a multipart form as it arrives: one file straight to its place on disk, the few text fields into memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import to_thread
from fastapi import HTTPException
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.core.settings import MIB
from app.core.storage import Storage

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELDS_LIMIT = 64 * 1024  # bytes that all text fields together may have
SMALL = 64 * 1024  # bytes of a file that are written without a thread
OVERHEAD = 128 * 1024  # bytes that a form may have besides its file


@dataclass(frozen=True, slots=True)
class Limits:
    """How large the file may be, and how many bytes must stay free on the disk."""

    size: int
    reserve: int


@dataclass(slots=True)
class Form:
    """What was in the form. The name of the file is the user's word: never part of a path."""

    file_name: str | None = None
    size: int = 0
    fields: dict[str, str] = field(default_factory=dict)


class _Reader:
    """Collects the parser's events; bytes of the file wait in `pending` until they are written."""

    def __init__(self, limits: Limits) -> None:
        self.form = Form()
        self.pending = bytearray()
        self.ended = False
        self._limits = limits
        self._headers: dict[str, bytes] = {}
        self._name, self._value = b"", b""
        self._field: str | None = None
        self._text = bytearray()
        self._used = 0

    def on_part_begin(self) -> None:
        self._headers, self._field, self._text = {}, None, bytearray()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value
        self._name, self._value = b"", b""

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options:
            self._field = name
            return
        if name != "file" or self.form.file_name is not None:
            raise HTTPException(400, "Send exactly one file, in the form field `file`.")
        self.form.file_name = options[b"filename"].decode("utf-8", "replace")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self.pending += data[start:end]
            self.form.size += end - start
            if self.form.size > self._limits.size:
                raise too_large(self._limits)
            return
        self._text += data[start:end]
        self._used += end - start
        if self._used > FIELDS_LIMIT:
            raise HTTPException(400, "The text fields of the form are too long.")

    def on_part_end(self) -> None:
        if self._field is not None:
            self.form.fields[self._field] = self._text.decode("utf-8", "replace")

    def on_end(self) -> None:
        self.ended = True


def too_large(limits: Limits) -> HTTPException:
    """The answer to a file over the limit."""
    return HTTPException(413, f"The file is larger than the {limits.size // MIB} MB that this site accepts.")


def disk_full() -> HTTPException:
    """The answer when the disk has no room for an upload."""
    text = "The site has no room for this file just now. Please try again later."
    return HTTPException(507, text, {"Retry-After": "600"})


def check_length(length: str | None, limits: Limits, free: int) -> None:
    """Refuse by its Content-Length what cannot fit, before any of it is read."""
    announced = int(length) if length and length.isdigit() else 0
    if announced > limits.size + OVERHEAD:
        raise too_large(limits)
    if free < announced + limits.reserve:
        raise disk_full()


def _parser(content_type: str, reader: _Reader) -> MultipartParser:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise HTTPException(400, "Send the scan as a form (multipart/form-data) with the file in the field `file`.")
    callbacks: MultipartCallbacks = {
        "on_part_begin": reader.on_part_begin,
        "on_part_data": reader.on_part_data,
        "on_part_end": reader.on_part_end,
        "on_header_field": reader.on_header_field,
        "on_header_value": reader.on_header_value,
        "on_header_end": reader.on_header_end,
        "on_headers_finished": reader.on_headers_finished,
        "on_end": reader.on_end,
    }
    return MultipartParser(boundary, callbacks)


async def read_form(chunks: AsyncIterator[bytes], kind: str, path: Path, limits: Limits, storage: Storage) -> Form:
    """Read a form of content type `kind` and write its file to `path`; raises HTTPException (400, 413, 507)."""
    reader = _Reader(limits)
    parser = _parser(kind, reader)

    def write(out: FileIO) -> None:
        if storage.free() < limits.reserve:
            raise disk_full()
        out.write(reader.pending)
        reader.pending.clear()

    with path.open("wb", buffering=0) as out:
        try:
            async for chunk in chunks:
                parser.write(chunk)
                if len(reader.pending) >= MIB:
                    await to_thread.run_sync(write, out)
        except FormParserError as error:
            raise HTTPException(400, f"The form cannot be read: {error}") from error
        # A few bytes go to the kernel sooner than to a thread.
        await to_thread.run_sync(write, out) if len(reader.pending) > SMALL else write(out)
    if not reader.ended:
        raise HTTPException(400, "The form ends in the middle; the upload was cut off.")
    return reader.form
