"""Lets `farrier deploy` end a play between two phases: a role that began is carried out, its handlers included."""

from __future__ import annotations

import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: stop_between_phases
type: aggregate
short_description: End the play before its next role when somebody asked for that
description:
  - Looks for the file that the environment variable FARRIER_STOP names, before the first task of each role.
  - Does nothing where that variable is not set.
author: Farrier
"""


class CallbackModule(CallbackBase):
    """Raises KeyboardInterrupt, as Ctrl-C would, at a moment when no task runs."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "stop_between_phases"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._path = os.environ.get("FARRIER_STOP", "")
        self._role: str | None = None

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Ansible's entry."""
        del is_conditional
        role = task._role.get_name() if task._role else None
        if role != self._role and self._path and os.path.exists(self._path):  # noqa: PTH110 - one stat, no more
            raise KeyboardInterrupt
        self._role = role
