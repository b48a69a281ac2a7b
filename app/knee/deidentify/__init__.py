"""Takes out of a scan what says whose it is, on arrival, before anything is stored for good."""

from __future__ import annotations

from app.knee.deidentify.clean import clean_scan
from app.knee.deidentify.copying import CannotClean

__all__ = ["CannotClean", "clean_scan"]
