"""Streams from one file to another in bounded pieces."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Protocol

PIECE = 1024 * 1024  # bytes
ASK_EVERY = 16 * PIECE
TOO_MUCH = "The scan unpacks to more than this site takes."


class CannotClean(ValueError):
    """A scan from which the personal parts cannot be taken with certainty; the message says why, to its user."""


class Source(Protocol):
    """What gives bytes."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""


class Target(Protocol):
    """What takes bytes."""

    def write(self, data: bytes, /) -> object:
        """Write all of `data`."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many bytes a scan may have unpacked; `has_room` raises where the disk is full."""

    limit: int
    has_room: Callable[[], None]


@dataclass(slots=True)
class Writer:
    """Writes within bounds; asks for room every 16 MiB."""

    out: Target
    bounds: Bounds
    _written: int = field(default=0, init=False)

    def write(self, data: bytes) -> None:
        """Write all of `data`; raises CannotClean beyond the limit."""
        if self._written // ASK_EVERY != (self._written + len(data)) // ASK_EVERY:
            self.bounds.has_room()
        self._written += len(data)
        if self._written > self.bounds.limit:
            raise CannotClean(TOO_MUCH)
        self.out.write(data)


def copy(source: Source, out: Writer, count: int | None = None) -> None:
    """Copy `count` bytes, or all that is left; less where the source ends before."""
    left = count
    while left is None or left > 0:
        data = source.read(PIECE if left is None else min(PIECE, left))
        if not data:
            return
        out.write(data)
        left = None if left is None else left - len(data)


class Packed:
    """gzip as a target: without a file name, and without a time."""

    def __init__(self, out: Writer) -> None:
        self._out = out
        self._packer = zlib.compressobj(level=1, wbits=31)  # the pipeline reads it once

    def write(self, data: bytes, /) -> None:
        """Pack and pass on."""
        self._out.write(self._packer.compress(data))

    def close(self) -> None:
        """Write what is left."""
        self._out.write(self._packer.flush())


class Counted:
    """A file of which no more than `most` bytes are read; what is skipped does not count."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self._left = file, most
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1, /) -> bytes:
        """Read; raises CannotClean when it becomes too much."""
        if size < 0:  # pydicom reads to the end only to unpack it, whatever its size is then
            raise CannotClean("A DICOM file is compressed as a whole (deflated); send the series uncompressed.")
        data = self._file.read(min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise CannotClean("The header of a DICOM file is larger than this site takes.")
        return data
