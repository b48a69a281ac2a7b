"""Asks the host which model files it lacks, sends those that lie on the controller, and lets it do the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from farrier.heartbeat import heartbeat

Json = dict[str, Any]


class ActionModule(ActionBase):
    """`files_root`: the folder on the controller that `file:` sources are relative to; the rest is the module's."""

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        """Ansible's entry."""
        result: Json = super().run(tmp, task_vars)
        args = dict(self._task.args)
        folder = Path(args.pop("files_root"))
        tokens = {"tokens": args.pop("tokens", None) or {}}
        found: Json = self._execute_module("models", module_args={**args, "look": True}, task_vars=task_vars)
        if found.get("failed") or not found["changed"] or self._task.check_mode:
            return result | found
        try:
            local = self._send(dict(local_files(args["models"], found["wanted"], folder)))
            with heartbeat(Display().display, "fetching models"):
                given = {**args, **tokens, "local": local}
                done: Json = self._execute_module("models", module_args=given, task_vars=task_vars)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result | done

    def _send(self, files: dict[str, Path]) -> dict[str, str]:
        """Copy the files to the host's folder for temporary files; return their paths there, by hash."""
        if not files:
            return {}
        shell = self._connection._shell
        folder = shell.tmpdir or self._make_tmp_path()
        sent = {digest: str(shell.join_path(folder, digest)) for digest in files}
        for digest, path in files.items():
            self._transfer_file(str(path), sent[digest])
        self._fixup_perms2((folder, *sent.values()))  # readable for the user that the task becomes
        return sent


def local_files(models: list[Json], wanted: list[str], folder: Path) -> Iterator[tuple[str, Path]]:
    """The hash and the path of every wanted file that has a `file:` source here."""
    for file in (file for model in models for file in model["files"] if file["sha256"] in wanted):
        for source in file["sources"]:
            path = folder / source.removeprefix("file:")
            if source.startswith("file:") and path.is_file():
                yield file["sha256"], path
                break
