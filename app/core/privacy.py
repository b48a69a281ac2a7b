"""Keeps users out of the logs: whatever a library or a traceback would say of them is blanked."""

from __future__ import annotations

import logging
import re
import traceback
from typing import Any

EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
# The name of a scan as a user's computer has it; `input.nii.gz` and `result.zip` are ours.
SCAN = re.compile(r"(?<![^\s/'\"])(?!input\.|result\.zip)[^\s/'\"]+\.(?:nii\.gz|nii|dcm|nrrd|zip)\b", re.IGNORECASE)


def blank(text: str) -> str:
    """The text without e-mail addresses and names of scans."""
    return SCAN.sub("<file>", EMAIL.sub("<email>", text))


def _blank(value: Any) -> Any:
    return blank(str(value)) if isinstance(value, str | BaseException) else value


def _record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record = logging.LogRecord(*args, **kwargs)
    record.msg = _blank(record.msg)
    if isinstance(record.args, tuple):
        record.args = tuple(_blank(each) for each in record.args)
    if record.exc_info and record.exc_info[0] is not None:  # a formatter takes the text where it is there already
        record.exc_text = blank("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
    return record


def quiet_logs(*, unless: bool) -> None:
    """From now on every logger of this process blanks what is personal, unless an administrator wants it."""
    logging.setLogRecordFactory(logging.LogRecord if unless else _record)
