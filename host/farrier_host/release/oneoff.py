"""A command in a service's place: with its user, env, credentials, limits and sandbox, and nothing left behind."""

from __future__ import annotations

import os
import re
import secrets
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from farrier_host.release import files, state
from farrier_host.release.files import Refused
from farrier_host.release.layout import Layout

INSTANCE = "run"  # where a template unit's instance would have its number
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Settings of [Service] that are the service's own life: how it starts, says READY, ends, and what it holds meanwhile.
_LIFE = re.compile(
    r"(Exec|Type$|Notify|Restart|Timeout|Watchdog|Runtime|Kill|SendSIG|FinalKill|Standard|TTY|Syslog|Success|Start"
    r"|PIDFile|BusName|RemainAfterExit|GuessMainPID|Sockets|FileDescriptor|OOMPolicy|NonBlocking|ReloadSignal)"
)
_STOP = 10  # seconds that a command has once its caller is gone
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def run(layout: Layout, stack: str, service: str, command: Sequence[str]) -> int:
    """Run `command` in the place of a service of the live release; its exit code (255: it was killed by a signal).

    Standard input, output and error are the caller's. Raises Refused where there is no such service or program.
    """
    plan = _live_plan(layout, stack)
    unit = _unit(plan, stack, service)
    return _carry_out(plan, unit, list(command))


def run_named(layout: Layout, stack: str, name: str, arguments: Sequence[str]) -> int:
    """Run a command that the stack file names under `commands`. Raises Refused where it names none of that name."""
    plan = _live_plan(layout, stack)
    known: dict[str, dict[str, Any]] = {each["name"]: each for each in plan.get("commands", [])}
    if name not in known:
        raise Refused(f"{stack}: the live release has no command '{name}'; it has: {', '.join(known) or 'none'}")
    unit = _unit(plan, stack, known[name]["service"])
    return _carry_out(plan, unit, [*known[name]["argv"], *arguments])


def _live_plan(layout: Layout, stack: str) -> dict[str, Any]:
    if os.geteuid() != 0:
        raise Refused("only root may do this: try again with sudo")
    release = state.load(layout, stack).active
    if release is None:
        raise Refused(f"{stack}: nothing is live; `farrier-release status` shows the stacks of this host")
    return files.read_plan(layout, stack, release)


def _unit(plan: Mapping[str, Any], stack: str, service: str) -> dict[str, Any]:
    services: dict[str, dict[str, Any]] = {
        each["service"]: each for each in plan["units"] if each["file"].endswith(".service")
    }
    if service not in services:
        raise Refused(f"{stack} has no service '{service}'; it has: {', '.join(sorted(services))}")
    return services[service]


def _carry_out(plan: Mapping[str, Any], unit: Mapping[str, Any], command: list[str]) -> int:
    service, prefix = unit["service"], unit["context"].get("prefix")
    path = f"{prefix}/bin:{_PATH}" if prefix else _PATH
    name = f"farrier-run-{plan['name']}-{service}-{secrets.token_hex(4)}.service"
    given = properties(_text(unit["starts"][0]), _specifiers(name))
    program = shutil.which(command[0], path=path)
    if program is None:
        raise Refused(f"there is no program '{command[0]}' in the env of {plan['name']}/{service}, nor on the host")
    call = ["systemd-run", "--quiet", "--collect", "--wait", "--pipe", "--pty", "--service-type=exec"]
    call += [f"--unit={name}", f"--description={plan['name']} {service}: a command by hand", f"--setenv=PATH={path}"]
    call += [f"--property={each}" for each in (*given, f"TimeoutStopSec={_STOP}")]
    # systemd replaces variables in what it starts.
    return _attended(name, [*call, "--", *(word.replace("$", "$$") for word in (program, *command[1:]))])


def _text(unit: str) -> str:
    """The unit with its drop-ins, an administrator's own included."""
    done = subprocess.run(["systemctl", "cat", unit], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise Refused(f"{unit} has no unit file: {done.stderr.strip()}; `farrier-release check` says what else is gone")
    return done.stdout


def _specifiers(unit: str) -> dict[str, str]:
    boot = _BOOT_ID.read_text(encoding="ascii").strip().replace("-", "")
    own = {"%": "%", "b": boot, "i": INSTANCE, "I": INSTANCE, "n": unit, "d": f"/run/credentials/{unit}"}
    return own | {"t": "/run", "S": "/var/lib", "C": "/var/cache", "L": "/var/log", "E": "/etc"}


def properties(text: str, specifiers: Mapping[str, str]) -> list[str]:
    """What of a unit's text is its surroundings, as `Name=value`, in its order, with `%` specifiers replaced.

    Raises Refused for a specifier that a command by hand cannot have.
    """

    def expanded(match: re.Match[str]) -> str:
        if match[1] not in specifiers:
            raise Refused(f"the unit uses %{match[1]}, which a command by hand cannot have")
        return specifiers[match[1]]

    return [
        f"{name}={re.sub(r'%(.)', expanded, value)}"
        for name, value in _settings(text, "Service")
        if not _LIFE.match(name)
    ]


def _settings(text: str, section: str) -> Iterator[tuple[str, str]]:
    """Names and values of one section of a unit's text, by systemd's rules for comments and continued lines."""
    here, whole = "", ""
    for line in text.splitlines():
        if line.lstrip().startswith(("#", ";")):
            continue
        whole += line
        if whole.endswith("\\"):
            whole = whole[:-1] + " "
            continue
        done, whole = whole.strip(), ""
        if done.startswith("["):
            here = done.strip("[]")
        elif here == section and "=" in done:
            name, _, value = done.partition("=")
            yield name.strip(), value.strip()


def _attended(unit: str, call: Sequence[str]) -> int:
    """Start the unit and wait; whatever ends the waiting, a caller that went away included, ends the unit too."""
    for number in _SIGNALS:
        signal.signal(number, _leave)
    process = subprocess.Popen(call)
    try:
        if _await_end(process):
            return process.returncode if process.returncode >= 0 else 128 - process.returncode
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        if process.returncode is None:
            process.terminate()  # it gives a terminal back as it was
            process.wait()
            subprocess.run(["systemctl", "stop", unit], check=False, capture_output=True)


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def _await_end(process: subprocess.Popen[bytes]) -> bool:
    """Wait for the end of the process; False when whoever reads its output is gone (a cut SSH connection)."""
    poll, ended = select.poll(), os.pidfd_open(process.pid)
    poll.register(ended, select.POLLIN)
    poll.register(1, 0)  # errors and hang-ups are told unasked
    try:
        while True:
            happened = dict(poll.poll())
            if ended in happened:
                process.wait()
                return True
            if happened:
                return False
    finally:
        os.close(ended)
