"""Logs name nobody unless an administrator switched that on."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from app.core.privacy import blank, quiet_logs

FILE, ADDRESS = "Quidditch_Eleonore.nii.gz", "eleonore.quidditch@example.org"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a logger writes, with its formatter."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("some.library")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield stream
    logger.removeHandler(handler)
    quiet_logs(unless=True)


def speak() -> None:
    logger = logging.getLogger("some.library")
    logger.info("read %s of %s in %d s", FILE, ADDRESS, 3)
    logger.info("of %s", ValueError(f"mail to <{ADDRESS}>"))
    try:
        raise OSError(2, "no such file", f"/home/me/{FILE}")
    except OSError:
        logger.exception("failed")


def test_messages_arguments_and_tracebacks_are_blanked(written: io.StringIO) -> None:
    quiet_logs(unless=False)
    speak()
    said = written.getvalue()
    assert "quidditch" not in said.lower()
    assert "INFO some.library: read <file> of <email> in 3 s" in said
    assert "FileNotFoundError: [Errno 2] no such file" in said


def test_an_administrator_can_switch_it_off(written: io.StringIO) -> None:
    quiet_logs(unless=True)
    speak()
    assert FILE in written.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "job 0123456789abcdef0123456789abcdef: attempt 1 begins",
        "/var/lib/farrier/knee/uploads/0123456789abcdef0123456789abcdef/input.nii.gz is gone",
        "Connected to redis+socket://app:**@/run/farrier/knee/redis/redis.sock?virtual_host=0",
        "celery@knee-worker ready",
    ],
)
def test_what_names_nobody_stays(text: str) -> None:
    assert blank(text) == text
