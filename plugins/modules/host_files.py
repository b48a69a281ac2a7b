#!/usr/bin/python3
"""Write many small root-owned files in one call."""

from __future__ import annotations

DOCUMENTATION = """
module: host_files
short_description: Write many small root-owned files in one call
description:
  - Each file is replaced as a whole. Used by action plugins that render the files on the controller.
author: Farrier
options:
  files: {type: dict, required: true, description: 'Path to {content, mode}; content is text.'}
"""
EXAMPLES = """
- name: Write a file
  host_files: {files: {/etc/example: {content: "text", mode: "0644"}}}
"""
RETURN = """
written: {description: The files that were not as they should be., returned: always, type: list, elements: str}
"""

import os
import stat

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.farrier_files import difference, read, write


def main() -> None:
    """Write what differs and exit."""
    module = AnsibleModule({"files": {"type": "dict", "required": True}}, supports_check_mode=True)
    todo = {path: file for path, file in sorted(module.params["files"].items()) if not is_right(path, file)}
    diff = (
        [difference(path, read(path), file["content"].encode()) for path, file in todo.items()] if module._diff else []
    )
    if not module.check_mode:
        for path, file in todo.items():
            write(path, file["content"].encode(), int(file["mode"], 8))
    module.exit_json(changed=bool(todo), written=list(todo), diff=diff)


def is_right(path: str, file: dict[str, str]) -> bool:
    """Whether the file is there with this content and mode."""
    if read(path) != file["content"].encode():
        return False
    return stat.S_IMODE(os.stat(path).st_mode) == int(file["mode"], 8)


if __name__ == "__main__":
    main()
