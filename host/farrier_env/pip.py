"""The Python packages of an env, by uv from hashed requirements, and the compiled form of all its Python files."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from farrier_env.request import Env, EnvError

_FOREIGN = ("PYTHON", "VIRTUAL_ENV", "CONDA_", "UV_PYTHON", "UV_SYSTEM_PYTHON")  # would lead uv to another Python


def install_requirements(env: Env, cache: Path) -> None:
    """Install the env's requirements into its prefix. Raises EnvError with uv's own words."""
    if env.pip is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(env.pip)
        done = _run(
            uv(), "pip", "install", "--quiet", "--python", str(python(env)),
            "--require-hashes", "--no-build",  # a host has no compiler, and a build runs code that no hash covers
            "--system-certs",  # the host's CAs, so that a private index works
            "--cache-dir", str(cache), "--requirements", str(requirements),
        )  # fmt: skip
    if done.returncode:
        words = (done.stderr or done.stdout).replace(str(requirements), f"the pip lock of {env.name}")
        raise EnvError(f"env {env.id}: its Python packages cannot be installed: {words.strip()}")


def compile_files(env: Env) -> None:
    """Compile now what the services could not: their prefix is not writable for them."""
    if not python(env).exists():
        return
    done = _run(str(python(env)), "-I", "-m", "compileall", "-q", "-j0", str(env.prefix / "lib"))
    # Packages may hold templates and tests that are no valid Python; only a file that cannot be written matters.
    words = (done.stderr + done.stdout).strip()
    if "OSError" in words:
        raise EnvError(f"env {env.id}: its Python files cannot be compiled: {words}")


def python(env: Env) -> Path:
    """The env's interpreter."""
    return env.prefix / "bin" / "python"


def uv() -> str:
    """The uv of the tools venv that runs this."""
    return str(Path(sys.executable).with_name("uv"))


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
    # uv takes settings from the folder it is started in, and there are none in /
    return subprocess.run(command, check=False, text=True, capture_output=True, cwd="/", env=environment)
