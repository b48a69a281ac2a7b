#!/usr/bin/python3
"""Stage releases: all files of all stacks in one task, written where nothing runs from yet."""

from __future__ import annotations

DOCUMENTATION = """
module: release_files
short_description: Stage the files of releases
description:
  - Writes each stack's code and configuration into folders named by the hash of their content, and its plan, units and
    Caddy fragments into a release folder. A release with the same content as an earlier one is that one again.
  - Units are checked by systemd-analyze before the release folder gets its name.
  - Used through the action plugin of the same name, which renders the files on the controller.
author: Farrier
options:
  version: {type: str, required: true, description: 'Version or commit, the second part of a new release id.'}
  stacks:
    type: list
    elements: dict
    required: true
    description: Stacks with their files.
    suboptions:
      name: {type: str, required: true, description: The stack.}
      home: {type: path, required: true, description: 'Its folder, /opt/farrier/<stack>.'}
      files: {type: dict, required: true, description: 'Files of the release: path in the release to base64.'}
      fixed: {type: dict, required: true, description: 'Files at their own paths, named by content: path to base64.'}
"""
EXAMPLES = """
- name: Stage the releases
  release_files: {plan: "{{ farrier_plan }}", version: 1a2b3c4}
"""
RETURN = """
releases: {description: Release id by stack., returned: always, type: dict}
"""

import base64
import binascii
import datetime as dt
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.farrier_files import difference, read, write
from ansible.module_utils.farrier_staged import active_release, digest_of, identity, known


def main() -> None:
    """Stage every stack and exit."""
    fields = {
        "name": {"type": "str", "required": True},
        "home": {"type": "path", "required": True},
        "files": {"type": "dict", "required": True},
        "fixed": {"type": "dict", "required": True},
    }
    options = {
        "version": {"type": "str", "required": True},
        "stacks": {"type": "list", "elements": "dict", "required": True, "options": fields},
    }
    module = AnsibleModule(options, supports_check_mode=True)
    stagings = [Staging(stack, module.params["version"]) for stack in module.params["stacks"]]
    for staging in stagings:
        try:
            complaint = staging.complaint() if module.check_mode else staging.carry_out()
        except OSError as error:
            module.fail_json(
                msg=f"stack {staging.name} could not be staged, nothing was activated: {error}; mend that and run again"
            )
        if complaint:
            module.fail_json(
                msg=f"stack {staging.name}: systemd refuses its units, nothing was activated:\n{complaint}"
            )
    module.exit_json(
        changed=any(staging.todo for staging in stagings),
        releases={staging.name: staging.release for staging in stagings},
        diff=[entry for staging in stagings for entry in staging.diff] if module._diff else [],
    )


class Staging:
    """One stack's files against what is on the host. Making one changes nothing; `todo` is what carry_out writes."""

    def __init__(self, stack: dict[str, Any], version: str) -> None:
        self.name: str = stack["name"]
        self.home: str = stack["home"]
        self.files = decoded(stack["files"])
        self.fixed = decoded(stack["fixed"])
        self.digest = digest_of({path: hashlib.sha256(content).hexdigest() for path, content in self.files.items()})
        self.release = known(self.home, self.digest) or f"{dt.datetime.now(dt.timezone.utc):%Y%m%dT%H%M%SZ}-{version}"
        self.folder = os.path.join(self.home, "releases", self.release)
        self.files["release.json"] = identity(self.release, self.digest)
        inside = {os.path.join(self.folder, path): content for path, content in self.files.items()}
        self.todo = {path: content for path, content in sorted((self.fixed | inside).items()) if read(path) != content}

    @property
    def diff(self) -> list[dict[str, str]]:
        """What differs from the live release, file by file, and what code or configuration is new."""
        active = active_release(self.home)
        before = os.path.join(self.home, "releases", active) if active else None
        entries = []
        for path, content in sorted(self.files.items()):
            old = read(os.path.join(before, path)) if before else None
            if old != content and path != "release.json":
                entries.append(difference(f"{self.name}: {path}", old, content))
        changed = [path for path in self.todo if path in self.fixed]
        return entries + [difference(path, read(self.counterpart(path, before)), self.fixed[path]) for path in changed]

    def counterpart(self, path: str, before: str | None) -> str:
        """The same file in the code folder of the live release, whose name holds another hash."""
        plan = json.loads(read(os.path.join(before, "plan.json")) or b"{}") if before else {}
        for tree in plan.get("code", []):
            stem = os.path.join(self.home, "code", tree["name"] + "-")
            if path.startswith(stem):
                return os.path.join(tree["path"], path.split("/", stem.count("/") + 1)[-1])
        return path

    def complaint(self) -> str | None:
        """What systemd says against new units, or None. In check mode the programs that they start may not be there."""
        if not any(path.startswith(self.folder) for path in self.todo):
            return None
        said = check_units({path: content for path, content in self.files.items() if path.startswith("units/")}) or ""
        return "\n".join(line for line in said.splitlines() if "is not executable" not in line) or None

    def carry_out(self) -> str | None:
        """Write what is missing; what systemd says against the units, or None."""
        if self.release != active_release(self.home):
            self.touch()
        for path in self.todo:
            if path in self.fixed:
                write(path, self.fixed[path])
        if not any(path.startswith(self.folder) for path in self.todo):
            return None
        complaint = check_units({path: content for path, content in self.files.items() if path.startswith("units/")})
        if complaint is None:
            self.write_release()
        return complaint

    def touch(self) -> None:
        """Make what is there already as new: `farrier-release collect` may run before this release is live."""
        inside = {tuple(os.path.relpath(path, self.home).split("/")[:2]) for path in self.fixed}
        for path in [*(os.path.join(self.home, *top) for top in sorted(inside)), self.folder]:
            if os.path.exists(path):
                os.utime(path)

    def write_release(self) -> None:
        """Write the release folder under another name, and rename it when it is whole."""
        if os.path.isdir(self.folder):  # somebody changed a file of it
            for path in self.todo:
                if path.startswith(self.folder):
                    write(path, self.todo[path])
            return
        parts = self.folder + ".part"
        shutil.rmtree(parts, ignore_errors=True)
        for path, content in self.files.items():
            write(os.path.join(parts, path), content)
        os.rename(parts, self.folder)


def decoded(files: dict[str, str]) -> dict[str, bytes]:
    """Contents out of base64."""
    try:
        return {path: base64.b64decode(content, validate=True) for path, content in files.items()}
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from None


def check_units(units: dict[str, bytes]) -> str | None:
    """What systemd-analyze says against the unit files, or None. A template unit is checked as its first instance."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, content in units.items():
            path = os.path.join(folder, os.path.basename(name).replace("@.", "@0."))
            write(path, content)
            paths.append(path)
        command = ["systemd-analyze", "verify", "--recursive-errors=no", "--man=no", *sorted(paths)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    return None if done.returncode == 0 else done.stderr.replace(f"{folder}/", "").strip()


if __name__ == "__main__":
    main()
