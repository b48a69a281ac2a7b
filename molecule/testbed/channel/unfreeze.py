"""Take the frozen `site` module out of Debian's python3.11 binary, so that an edited site.py is read from disk.

CPython 3.11 compiles `site` into the executable, and Debian's one looks for `dist-packages` only: whatever site.py
says, site-packages would never be on sys.path. The interpreter finds frozen modules by name in a table of 32-byte
entries. Moving the pointer to the name "site" by one byte makes the entry "ite", which nobody imports. It works because
the executable is not position independent: its pointers stand in the file as they will be in memory.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from testbed.channel.apt import ChannelError

ENTRY_SIZE = 32  # of CPython 3.11's struct _frozen on 64-bit machines
PT_LOAD = 1


class Segment(NamedTuple):
    """A part of the file that is loaded: its place in the file, its address in memory, its size in the file."""

    offset: int
    address: int
    size: int


def unfreeze_site(executable: Path) -> None:
    """Rename the entry of `site` in the table of frozen modules. Stops unless exactly one entry fits."""
    image = bytearray(executable.read_bytes())
    segments = list(_load_segments(image))
    site = list(_pointers_to(image, segments, b"site"))
    after = list(_pointers_to(image, segments, b"stat"))  # the table's next entry tells it from other uses of the word
    entries = [
        match.start()
        for pointer in site
        for match in re.finditer(re.escape(pointer), image)
        if image[match.start() + ENTRY_SIZE : match.start() + ENTRY_SIZE + 8] in after
    ]
    if len(entries) != 1:
        raise ChannelError(f"{executable.name}: {len(entries)} entries for `site` among the frozen modules, expected 1")
    (name,) = struct.unpack_from("<Q", image, entries[0])
    struct.pack_into("<Q", image, entries[0], name + 1)
    executable.write_bytes(image)


def _load_segments(image: bytes | bytearray) -> Iterator[Segment]:
    (table,) = struct.unpack_from("<Q", image, 32)  # e_phoff
    (count,) = struct.unpack_from("<H", image, 56)  # e_phnum
    for index in range(count):
        kind, _, offset, address, _, size = struct.unpack_from("<IIQQQQ", image, table + 56 * index)
        if kind == PT_LOAD:
            yield Segment(offset, address, size)


def _pointers_to(image: bytearray, segments: list[Segment], word: bytes) -> Iterator[bytes]:
    """The addresses, as 8 bytes, of every C string in the image that ends with `word`."""
    for match in re.finditer(word + rb"\0", image):
        for segment in segments:
            if segment.offset <= match.start() < segment.offset + segment.size:
                yield struct.pack("<Q", segment.address + match.start() - segment.offset)
