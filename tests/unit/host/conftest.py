from __future__ import annotations

from pathlib import Path

import ansible.module_utils

# as Ansible does by its setting module_utils: what a deploy makes and farrier-release changes is tested together
ansible.module_utils.__path__.append(str(Path(__file__).parents[3] / "plugins" / "module_utils"))
