"""The venv of the installer of environments on a host."""

from __future__ import annotations

import hashlib
import json
import os
import sys


def tools_folder(root: str, content: str) -> str:
    """Its folder, named by the hash of what is in it (`content`) and by the Python that it belongs to."""
    named = hashlib.sha256(json.dumps([content, sys.version_info[:2]]).encode()).hexdigest()
    return os.path.join(root, named[:12])
