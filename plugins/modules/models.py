#!/usr/bin/python
"""Bring model weights into the host's model store; the action plugin of the same name sends the local files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.model_folder import Model, parse
from ansible.module_utils.model_store import Store, StoreError

DOCUMENTATION = r"""
module: models
short_description: Model weights into the host's content-addressed store
description:
  - Fetches what is missing, checks its sha256 on the way, and places a model's version as a whole.
  - Files with C(https://) sources are fetched by the host, those with C(file:) sources are sent by the controller.
options:
  models: {description: 'Models as in the plan: id, version, path, files.', type: list, elements: dict, required: true}
  root: {description: The store., type: path, required: true}
  tokens: {description: Tokens of gated models by name; only their server gets them., type: dict}
  files_root: {description: Folder on the controller that file sources are relative to., type: path, required: true}
"""

EXAMPLES = r"""
- name: Bring the models
  models:
    models: "{{ ansible_facts.farrier_plan.models }}"
    root: /srv/models
    files_root: "{{ playbook_dir }}/stacks"
"""

RETURN = r"""
models:
  description: What became of each; C(state) is present or fetched, in check mode also absent.
  type: list
  returned: always
"""

OPTIONS = {
    "models": {"type": "list", "elements": "dict", "required": True},
    "root": {"type": "path", "required": True},
    "tokens": {"type": "dict", "default": {}, "no_log": True},
    "look": {"type": "bool", "default": False},  # this and the next one are the action plugin's
    "local": {"type": "dict", "default": {}},
}


def main() -> None:
    """Ansible's entry."""
    module = AnsibleModule(OPTIONS, supports_check_mode=True)
    os.umask(0o022)  # services read the files as other users
    params = module.params
    local = {digest: Path(path) for digest, path in params["local"].items()}
    store = Store(Path(params["root"]), local, params["tokens"])
    models = [parse(model) for model in params["models"]]
    missing = [model.reference for model in store.missing(models)]
    only_look = module.check_mode or params["look"]
    result: dict[str, Any] = {"models": [state(model, missing, only_look) for model in models]}
    if not module.check_mode:
        store.touch(models)
    if only_look:
        result["wanted"] = store.wanted(models)
    elif missing:
        try:
            store.bring(models)
        except StoreError as error:
            module.fail_json(msg=str(error))
    if module._diff and missing:
        result["diff"] = {"before": "", "after": "".join(f"model {reference}\n" for reference in missing)}
    module.exit_json(changed=bool(missing), **result)


def state(model: Model, missing: list[str], only_look: bool) -> dict[str, str]:
    """What became of the model, for the result."""
    word = "present" if model.reference not in missing else "absent" if only_look else "fetched"
    return {"id": model.id, "version": model.version, "state": word}


if __name__ == "__main__":
    main()
