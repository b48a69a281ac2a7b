"""What schemathesis sends as a file: a scan, since no schema can say what one is."""

from __future__ import annotations

import schemathesis
from hypothesis import strategies

from tests.unit.app.scans import nifti, packed

schemathesis.openapi.format("binary", strategies.just(packed(nifti(12, 12, 12))))
