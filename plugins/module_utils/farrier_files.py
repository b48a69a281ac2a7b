"""Writing files on a host so that a reader, or a crash, finds the old one or the new one."""

from __future__ import annotations

import os
import tempfile


def read(path: str) -> bytes | None:
    """The file's content, or None when there is no such file."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def write(path: str, content: bytes, mode: int = 0o644) -> None:
    """Replace `path` as a whole, root-owned with `mode`; its folder is made, readable for all, where it is missing."""
    folder = os.path.dirname(path)
    before = os.umask(0o022)  # a hardened host's would keep the stacks' users out
    try:
        os.makedirs(folder, exist_ok=True)
    finally:
        os.umask(before)
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=".farrier-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except OSError as error:
        os.unlink(name)
        raise OSError(error.errno, error.strerror, path) from None
    except BaseException:
        os.unlink(name)
        raise


def difference(path: str, before: bytes | None, after: bytes) -> dict[str, str]:
    """One file's entry of Ansible's diff; binary content is only named."""
    return {
        "before_header": path if before is not None else "/dev/null",
        "after_header": path,
        "before": _text(before or b""),
        "after": _text(after),
    }


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return f"(binary, {len(content)} bytes)\n"
