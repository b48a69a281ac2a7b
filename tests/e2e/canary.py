"""A secret that is nowhere else in the world, and everywhere that it must not be."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed import ssh
from tests.e2e.site import Site

_BIN = Path(sys.executable).parent
_PATTERNS = "/root/.canaries"  # on the host, for root alone: what is searched stands on no command line
_SINCE = "/root/.canaries-since"
_SEEN = "/root/.canaries-seen"
_MADE_HERE = "find /etc/farrier -type f ! -name '*.acl' -path '*/credentials/*' -exec sh -c 'cat {}; echo' ';'"
# Every process, again and again, until it is told to end.
_WATCH = f"""\
import glob, os, time
canaries = [line for line in open({_PATTERNS!r}, "rb").read().split() if line]
looks = 0
while not os.path.exists({_SEEN + ".end"!r}):
    for path in glob.iglob("/proc/[0-9]*/cmdline"):
        for file in (path, path.replace("cmdline", "environ")):
            try:
                text = open(file, "rb").read()
            except OSError:
                continue
            if any(canary in text for canary in canaries):
                print(file, text, file=open({_SEEN!r}, "a"))
    looks += 1
    time.sleep(0.02)
print(looks, file=open({_SEEN + ".looks"!r}, "w"))
"""
_SEARCHES = {
    "a unit": f"find /etc/systemd /run/systemd /usr/lib/systemd -type f -exec grep -lF -f {_PATTERNS} {{}} +",
    "systemctl show": f"systemctl show '*' --all --no-pager | grep -F -f {_PATTERNS}",
    "the environment of systemd": f"systemctl show-environment | grep -F -f {_PATTERNS}",
    "the arguments of a process": f"cat /proc/[0-9]*/cmdline 2>/dev/null | grep -aF -f {_PATTERNS}",
    "the variables of a process": f"cat /proc/[0-9]*/environ 2>/dev/null | grep -aF -f {_PATTERNS}",
    "the journal": f"journalctl --no-pager -o export | grep -aF -f {_PATTERNS}",
    # Whoever may read it: what a deploy writes is younger than the canary. Credentials are their own place.
    "a file": "find /etc /opt /var /run /tmp /root /home /srv /usr/local /dev/shm -xdev -type f "
    f"-cnewer {_SINCE} ! -path '/etc/farrier/*/credentials/*' ! -path '{_PATTERNS}*' -size -64M "
    f"-exec grep -laF -f {_PATTERNS} {{}} +",
    "a release": f"grep -rlaF -f {_PATTERNS} /opt/farrier/*/releases /opt/farrier/*/config /opt/farrier/*/state.json "
    "/opt/farrier/*/history.jsonl",
}


def new() -> str:
    """A value that stands nowhere yet; quotation marks and their like must not lead it astray."""
    return f"canary'{secrets.token_hex(16)}"


def vault(tree: Path, host: str, stack: str, values: dict[str, str], folder: Path) -> Path:
    """Write the host's secrets by `ansible-vault`, as an administrator does; the file with the vault's password."""
    password = folder / "vault-password"
    password.write_text(secrets.token_hex(16))
    password.chmod(0o600)
    file = tree / "inventory" / "demo" / "host_vars" / host / "vault.yml"
    file.parent.mkdir(parents=True)
    lines = "".join(f'    {name}: "{value}"\n' for name, value in values.items())
    file.write_text(f"farrier_secrets:\n  {stack}:\n{lines}")
    encrypt = [str(_BIN / "ansible-vault"), "encrypt", "--vault-password-file", str(password), str(file)]
    subprocess.run(encrypt, check=True, capture_output=True, cwd=tree)
    assert file.read_text().startswith("$ANSIBLE_VAULT")
    return password


@contextmanager
def watched(site: Site, *values: str) -> Iterator[None]:
    """Look at every process all the time, for these values and for every password that the host has made."""
    site.run(f"rm -f {_SEEN}*; touch {_SINCE}; umask 077; {_MADE_HERE} > {_PATTERNS}")
    write = f"umask 077; cat >> {_PATTERNS}; grep -v '^$' {_PATTERNS} > {_PATTERNS}.new; mv {_PATTERNS}.new {_PATTERNS}"
    send(site, write, "\n".join(values))
    send(site, "cat > /root/.canaries-watch.py", _WATCH)
    site.run("nohup python3 -IB /root/.canaries-watch.py >/dev/null 2>&1 </dev/null &")
    try:
        yield
    finally:
        site.run(f"touch {_SEEN}.end; timeout 30 sh -c 'until [ -s {_SEEN}.looks ]; do sleep 0.1; done'")
    assert int(site.run(f"cat {_SEEN}.looks")) > 20, "the processes were hardly looked at"
    assert site.run(f"cat {_SEEN} 2>/dev/null || true") == ""


def send(site: Site, command: str, text: str) -> None:
    """Run a command on the host that reads a text."""
    subprocess.run(ssh.argv(site.host.address, [command]), input=text, text=True, check=True)


def found_on(site: Site) -> dict[str, str]:
    """Where on the host one of the values stands outside of its credential file; what was found, by place."""
    ended = {place: site.host.run(command) for place, command in _SEARCHES.items()}
    return {place: done.stdout for place, done in ended.items() if done.stdout}


def found_here(value: str, *folders: Path) -> list[Path]:
    """Files on the controller that hold the value: what Ansible keeps of a run."""
    command = ["grep", "-rlaF", "-f", "-", *(str(folder) for folder in folders if folder.exists())]
    done = subprocess.run(command, input=value, check=False, capture_output=True, text=True)
    return [Path(line) for line in done.stdout.splitlines()]


def ansible_folders(tree: Path) -> list[Path]:
    """Where Ansible and its runner keep facts, temporary files and logs."""
    home = Path(os.environ.get("HOME", "/root"))
    return [home / ".ansible", tree / ".ansible", tree / "build" / "runner", tree / "build" / "log", tree / "inventory"]
