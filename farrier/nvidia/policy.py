"""Reads `apt-cache policy`, and chooses versions out of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_VERSION = re.compile(r"^ (?:\*\*\*|   ) (\S+) -?\d+$")
# Below a version: where it comes from, and the priority of that, whatever is pinned.
_SOURCE = re.compile(r"^ +(-?\d+) \S")


@dataclass(frozen=True)
class Policy:
    """One package: what is installed, what apt would take, and every version that it knows, newest first.

    `unpinned`: what apt would take if no version were pinned.
    """

    installed: str | None
    candidate: str | None
    versions: tuple[str, ...]
    unpinned: str | None


def parse(text: str) -> dict[str, Policy]:
    """The output of `apt-cache policy NAME…` by package; a name that apt knows nothing of is absent."""
    blocks = re.split(r"^(?=\S+:$)", text, flags=re.MULTILINE)
    found = (_block(block.splitlines()) for block in blocks if block.strip())
    return {name: policy for name, policy in found if policy.versions}


def _block(lines: list[str]) -> tuple[str, Policy]:
    values = dict(line.strip().split(": ", 1) for line in lines if ": " in line and line.startswith("  "))
    installed, candidate = (None if values.get(key) == "(none)" else values.get(key) for key in
                            ("Installed", "Candidate"))  # fmt: skip
    priorities: dict[str, int] = {}
    for line in lines:
        if version := _VERSION.match(line):
            priorities[version[1]] = 0
        elif priorities and (source := _SOURCE.match(line)):
            last = next(reversed(priorities))
            priorities[last] = max(priorities[last], int(source[1]))
    unpinned = _unpinned(priorities, installed)
    return lines[0].removesuffix(":"), Policy(installed, candidate, tuple(priorities), unpinned)


def _unpinned(priorities: Mapping[str, int], installed: str | None) -> str | None:
    """The newest of the highest priority, and no step back. `priorities`: of versions, newest first."""
    names = list(priorities)
    ahead = names[: names.index(installed) + 1] if installed and installed in priorities else names
    return max(ahead, key=priorities.__getitem__, default=None)


def upstream(version: str) -> str:
    """NVIDIA's own number in a package's version: `535.309.01` of `535.309.01-0+deb12u1`."""
    return version.partition(":")[2].partition("-")[0] if ":" in version else version.partition("-")[0]


def matching(policy: Policy, branch: str, exact: str, *, upgrade: bool) -> str | None:
    """The newest version that is `exact` (the package's, or NVIDIA's own number), of `branch`, or else apt's choice."""
    if exact:
        return next((version for version in policy.versions if exact in (version, upstream(version))), None)
    if branch:
        return next((version for version in policy.versions if version.startswith(f"{branch}.")), None)
    return chosen_by_apt(policy, upgrade=upgrade)


def chosen_by_apt(policy: Policy, *, upgrade: bool) -> str | None:
    """What apt would take. To it the best version is the one that we pinned, which an `upgrade` is to leave behind."""
    return policy.unpinned if upgrade else policy.candidate


def known(policies: Mapping[str, Policy], name: str) -> str:
    """Which versions there are of a package, for a message."""
    return ", ".join(policies[name].versions) if name in policies else "none"
