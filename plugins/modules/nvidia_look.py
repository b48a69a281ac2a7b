#!/usr/bin/python3
"""Read what a host has of graphics cards and of NVIDIA's driver."""

from __future__ import annotations

DOCUMENTATION = """
module: nvidia_look
short_description: Read what a host has of graphics cards and of NVIDIA's driver
description:
  - Reads sysfs, dpkg, DKMS and apt's lists; changes nothing, and does not ask the driver, which may hang.
author: Farrier
"""
EXAMPLES = """
- name: Look at the driver
  nvidia_look:
"""
RETURN = """
gpu: {description: The cards, and the driver where NVIDIA made one of them., returned: always, type: dict}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.farrier_gpu import look


def main() -> None:
    """Look and exit."""
    module = AnsibleModule({}, supports_check_mode=True)
    module.exit_json(changed=False, gpu=look())


if __name__ == "__main__":
    main()
