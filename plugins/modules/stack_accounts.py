#!/usr/bin/python3
"""Give every stack its user, its folders and its secrets."""

from __future__ import annotations

DOCUMENTATION = """
module: stack_accounts
short_description: Users, data folders and credentials of stacks
description:
  - Makes a system user and group for each stack, its data folders, and the credential files that are missing.
  - Passwords are made on the host and never leave it; an existing one is never changed. Secrets that the
    inventory gives are written as they are.
author: Farrier
options:
  secrets: {type: dict, default: {}, description: 'Values of the given secrets, by stack and name.'}
  stacks:
    type: list
    elements: dict
    required: true
    description: The stacks, as the plan has them.
    suboptions:
      name: {type: str, required: true, description: The stack, its user and its group.}
      state: {type: path, required: true, description: Its data folder.}
      state_folders: {type: list, elements: str, required: true, description: Folders inside it.}
      credentials_folder: {type: path, required: true, description: Where its secrets lie.}
      credentials: {type: list, elements: dict, required: true, description: 'Secrets: name, kind and of.'}
"""
EXAMPLES = """
- name: Give every stack its user, folders and secrets
  stack_accounts: {stacks: "{{ ansible_facts.farrier_plan.stacks }}"}
"""
RETURN = """
made: {description: What was made or mended., returned: always, type: list, elements: str}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.farrier_accounts import Maker, with_values


def main() -> None:
    """Make what is missing and exit."""
    fields = {
        "name": {"type": "str", "required": True},
        "state": {"type": "path", "required": True},
        "state_folders": {"type": "list", "elements": "str", "required": True},
        "credentials_folder": {"type": "path", "required": True},
        "credentials": {"type": "list", "elements": "dict", "required": True, "no_log": False},
    }
    stacks = {"type": "list", "elements": "dict", "required": True, "options": fields}
    values = {"type": "dict", "default": {}, "no_log": True}
    module = AnsibleModule({"stacks": stacks, "secrets": values}, supports_check_mode=True)
    maker = Maker(lambda command: module.run_command(command, check_rc=True), only_look=module.check_mode)
    for stack in with_values(module.params["stacks"], module.params["secrets"]):
        maker.stack(stack)
    diff = {"before": "", "after": "".join(f"{line}\n" for line in maker.made)}
    module.exit_json(changed=bool(maker.made), made=maker.made, diff=diff)


if __name__ == "__main__":
    main()
