"""Runs a playbook through ansible-runner, so that nothing secret is left behind: the only place that starts Ansible."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ansible_runner

_KEPT = 5  # folders of earlier runs
# All that Ansible gets of the caller's environment: the runner writes it down, and somebody's may hold tokens.
_ALLOWED = frozenset(
    {
        *("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "SUDO_USER", "TERM", "TMPDIR", "TZ", "USER"),
        *("KRB5CCNAME", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "VIRTUAL_ENV"),
        *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"),
        *("ANSIBLE_CONFIG", "ANSIBLE_HOST_KEY_CHECKING", "ANSIBLE_PRIVATE_KEY_FILE", "ANSIBLE_REMOTE_USER"),
        *("ANSIBLE_VAULT_IDENTITY_LIST", "ANSIBLE_VAULT_PASSWORD_FILE"),
    }
)

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Play:
    """What to run. `variables` are extra vars: they are on Ansible's command line, so none may be secret."""

    playbook: str
    inventory: str
    limit: str | None = None
    tags: str | None = None
    check: bool = False
    variables: Mapping[str, str | bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How Ansible ended. `output` is what it said outside of tasks: why it did not even begin, for example."""

    code: int
    output: str


@dataclass(frozen=True)
class Brake:
    """How a run is ended early: the file that ends it between two phases, and whether to end it at once."""

    file: Path
    at_once: Callable[[], bool]


def run_play(root: Path, play: Play, on_event: Callable[[Event], None], brake: Brake) -> Ended:
    """Run the play; each event as it happens. The run's folder is below build/runner, for its owner alone."""
    said: list[str] = []

    def handle(event: dict[str, Any]) -> bool:
        if event.get("event") in ("verbose", "error", "deprecated", "warning") and event.get("stdout"):
            said.append(str(event["stdout"]))
        on_event(event)
        return False  # not kept: results of tasks may quote what a host must not tell everybody

    with _folder(root / "build" / "runner") as folder, _environment(environment_for(os.environ, brake.file)):
        done = ansible_runner.run(
            private_data_dir=str(folder),
            project_dir=str(root),
            playbook=play.playbook,
            inventory=str(root / play.inventory),
            limit=play.limit,
            cmdline=" ".join(_options(play)) or None,
            extravars=dict(play.variables),
            event_handler=handle,
            cancel_callback=brake.at_once,
            settings={"pexpect_timeout": 0.2},
            suppress_env_files=True,
            suppress_output_file=True,
            quiet=True,
        )
    return Ended(int(done.rc), "\n".join(said))


def environment_for(environment: Mapping[str, str], stop: Path) -> dict[str, str]:
    """What Ansible may know of the caller's environment, and what a run without a person at its terminal needs."""
    kept = {key: value for key, value in environment.items() if key in _ALLOWED or key.startswith("LC_")}
    tools = str(Path(sys.executable).parent)
    return {
        # The runner would switch it off.
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        **kept,
        "PATH": f"{tools}:{kept.get('PATH', os.defpath)}",
        "ANSIBLE_NOCOLOR": "1",
        # Nobody answers a prompt: an unknown host key or a locked key fails instead of waiting for ever.
        "ANSIBLE_SSH_EXTRA_ARGS": "-o BatchMode=yes",
        "ANSIBLE_CALLBACK_PLUGINS": "plugins/callback",
        "FARRIER_STOP": str(stop),
    }


def _options(play: Play) -> Iterator[str]:
    if play.check:
        yield "--check --diff"
    if play.tags:
        yield f"--tags {play.tags}"


@contextmanager
def _folder(runs: Path) -> Iterator[Path]:
    """A new folder for one run, locked while it lasts; of the earlier ones the newest are kept."""
    runs.mkdir(mode=0o700, parents=True, exist_ok=True)
    runs.chmod(0o700)
    folder = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%dT%H%M%S-"), dir=runs))
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for old in sorted(path for path in runs.iterdir() if path != folder)[: -(_KEPT - 1)]:
            _remove(old)
        yield folder


def _remove(folder: Path) -> None:
    """Remove the folder of a run that is over."""
    with suppress(OSError), (folder / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Change the environment of this process meanwhile: the runner takes it from there, and can only add to it."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
