"""The files of farrier-release and farrier-gpus as they lie on a host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from farrier.nvidia.host import declared
from farrier.plan.model import Plan

_HOME = "/opt/farrier/host"
_COMMAND = "/usr/local/sbin/farrier-release"
_LAUNCHER = f"""\
#!/usr/bin/python3 -IB
# Farrier: makes releases live, or takes them back.
import sys

sys.path.insert(0, "{_HOME}")
from farrier_host.release.cli import main

sys.exit(main())
"""
_GPUS_COMMAND = "/usr/local/sbin/farrier-gpus"
_GPUS_LAUNCHER = f"""\
#!/usr/bin/python3 -IB
# Farrier: shows the graphics cards, and checks them before a unit starts.
import sys

sys.path.insert(0, "{_HOME}")
from farrier_host.gpu.cli import main

sys.exit(main())
"""
_COMMAND_LAUNCHER = """\
#!/bin/sh
# Farrier: stack {stack}. Its live release's command `{command}`.
exec {tool} command {stack} {command} -- "$@"
"""
_RECOVER = f"""\
# Farrier: takes back, before anything starts, what was going live when the host went down.
[Unit]
Description=Take back releases that nobody confirmed
DefaultDependencies=no
After=local-fs.target
Before=sysinit.target
ConditionPathExists={_COMMAND}

[Service]
Type=oneshot
ExecStart={_COMMAND} recover

[Install]
WantedBy=sysinit.target
"""
_FOLLOW = f"""\
# Farrier: watches the workers that go over to a release when their job ends.
[Unit]
Description=Workers of %i that follow a release

[Service]
ExecStart={_COMMAND} follow %i
Restart=on-failure
RestartSec=5
"""
_SETTLE = f"""\
# Farrier: takes back what an activation left half-way that was killed.
[Unit]
Description=Settle the releases of %i

[Service]
Type=oneshot
ExecStart={_COMMAND} settle %i
"""
_REBOOT_GUARD = f"""\
# Farrier: as long as jobs run, tells whoever reboots the host so, and whom to ask.
[Unit]
Description=Announce running jobs to whoever reboots
StartLimitIntervalSec=0

[Service]
ExecStart={_COMMAND} guard-reboots
Restart=on-failure
RestartSec=10
Nice=5
MemoryMax=128M

[Install]
WantedBy=multi-user.target
"""
_BOX = f"""\
# Farrier: announces and brings the end of the time that a stack was given; its timer is farrier-release's to write.
[Unit]
Description=The time of %i
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart={_COMMAND} due %i
# Somebody may be at it just then. Jobs in hand end by their units' own stop times.
Restart=on-failure
RestartSec=20
TimeoutStartSec=infinity
"""
_SETTLE_TIMER = """\
# Farrier: runs while an activation, or a way back, is open.
[Unit]
Description=Look whether an activation of %i was cut

[Timer]
OnActiveSec=60
OnUnitInactiveSec=60
AccuracySec=1s
"""


def tool_files(root: Path, plan: Plan) -> dict[str, dict[str, str]]:
    """Content and mode by path on the host: from the repository at `root`, and launchers of the stacks' commands."""
    contact = {"/etc/farrier/contact": {"content": f"{plan.contact}\n", "mode": "0644"}}
    return programs(root) | contact | declared(plan) | dict(_launchers(plan))


def programs(root: Path) -> dict[str, dict[str, str]]:
    """What every host gets: the package, its two commands, and their units."""
    package = root / "host" / "farrier_host"
    modules = {f"{_HOME}/{path.relative_to(root / 'host')}": path for path in sorted(package.rglob("*.py"))}
    files = {path: {"content": module.read_text(encoding="utf-8"), "mode": "0644"} for path, module in modules.items()}
    files[_COMMAND] = {"content": _LAUNCHER, "mode": "0755"}
    files[_GPUS_COMMAND] = {"content": _GPUS_LAUNCHER, "mode": "0755"}
    files["/etc/systemd/system/farrier-release-recover.service"] = {"content": _RECOVER, "mode": "0644"}
    units = {
        "follow@.service": _FOLLOW,
        "settle@.service": _SETTLE,
        "settle@.timer": _SETTLE_TIMER,
        "reboot-guard.service": _REBOOT_GUARD,
        "box@.service": _BOX,
    }
    for name, text in units.items():
        files[f"/etc/systemd/system/farrier-{name}"] = {"content": text, "mode": "0644"}
    return files


def _launchers(plan: Plan) -> Iterator[tuple[str, dict[str, str]]]:
    """They name no release: what they run is the live one's."""
    for stack in plan.stacks:
        for command in stack.commands:
            text = _COMMAND_LAUNCHER.format(stack=stack.name, command=command.name, tool=_COMMAND)
            yield command.launcher, {"content": text, "mode": "0755"}
