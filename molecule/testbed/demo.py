"""`make demo`: a fresh local host called pegasus, the main job against it, and how to look at the result."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

from testbed import host, ssh
from testbed.settings import SUITES
from testbed.shell import DriverError, say

_CA_ON_HOST = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"
_SCAN = Path("stacks/knee/fixtures/phantom.nii.gz")
_CA = Path("build/demo/ca.crt")
_TEXT = """
{name} serves at  https://{address}/
its CA:           {ca}

  submit a scan:  {submit}
  ask for it:     curl --cacert {ca} https://{address}/status/JOB_ID
  get its result: curl --cacert {ca} -o build/result.zip https://{address}/download/JOB_ID
  look at it:     .venv/bin/testbed ssh {name} systemctl status 'knee*'
                  .venv/bin/testbed ssh {name} journalctl -u "'knee-*'" -e
  deploy again:   .venv/bin/{deploy}
  stop it:        make demo-down
"""


def main() -> int:
    """Boot (or reuse) the host, deploy, fetch the CA, print the ways in; returns the playbook's exit code."""
    parser = argparse.ArgumentParser(prog="testbed.demo", description=__doc__)
    parser.add_argument("name", nargs="?", default="pegasus", choices=["pegasus", "unicorn"])
    parser.add_argument("--suite", choices=SUITES, default=SUITES[0])
    options = parser.parse_args()
    try:
        return _demo(options.name, options.suite)
    except DriverError as error:
        say(f"demo: {error}")
        return 1


def _demo(name: str, suite: str) -> int:
    started = time.monotonic()
    booted = host.up(name, suite, reuse=True)
    deploy = ["ansible-playbook", "-i", "inventory/demo", "site.yml", "-l", name]
    say(f"\n$ {shlex.join(deploy)}")
    code = subprocess.run(deploy, check=False).returncode
    if code != 0:
        say(f"\nThe deploy of {name} failed (exit code {code}). The host stays up: .venv/bin/testbed ssh {name}; "
            "`make demo` tries again, `make demo-down` removes it.")  # fmt: skip
        return code
    _fetch_ca(booted)
    print(_TEXT.format(name=name, address=booted.address, ca=_CA, submit=_submit(booted), deploy=shlex.join(deploy)))
    say(f"demo: booted and deployed in {time.monotonic() - started:.0f} s")
    return 0


def _fetch_ca(booted: host.Host) -> None:
    done = ssh.execute(booted.address, f"cat {_CA_ON_HOST}")
    if done.returncode != 0:
        raise DriverError(f"{booted.name} has no CA at {_CA_ON_HOST}: {done.stderr.strip()}")
    _CA.parent.mkdir(parents=True, exist_ok=True)
    _CA.write_text(done.stdout)


def _submit(booted: host.Host) -> str:
    return f"curl --cacert {_CA} -F file=@{_SCAN} https://{booted.address}/upload"


if __name__ == "__main__":
    sys.exit(main())
