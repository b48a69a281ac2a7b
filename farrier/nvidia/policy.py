"""Reads `apt-cache policy`, and chooses versions out of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_VERSION = re.compile(r"^ (?:\*\*\*|   ) (\S+) -?\d+$")


@dataclass(frozen=True)
class Policy:
    """One package: what is installed, what apt would take, and every version that it knows, newest first."""

    installed: str | None
    candidate: str | None
    versions: tuple[str, ...]


def parse(text: str) -> dict[str, Policy]:
    """The output of `apt-cache policy NAME…` by package; a name that apt knows nothing of is absent."""
    blocks = re.split(r"^(?=\S+:$)", text, flags=re.MULTILINE)
    found = (_block(block.splitlines()) for block in blocks if block.strip())
    return {name: policy for name, policy in found if policy.versions}


def _block(lines: list[str]) -> tuple[str, Policy]:
    values = dict(line.strip().split(": ", 1) for line in lines if ": " in line and line.startswith("  "))
    installed, candidate = (None if values.get(key) == "(none)" else values.get(key) for key in
                            ("Installed", "Candidate"))  # fmt: skip
    versions = tuple(match.group(1) for match in map(_VERSION.match, lines) if match)
    return lines[0].removesuffix(":"), Policy(installed, candidate, versions)


def upstream(version: str) -> str:
    """NVIDIA's own number in a package's version: `535.309.01` of `535.309.01-0+deb12u1`."""
    return version.partition(":")[2].partition("-")[0] if ":" in version else version.partition("-")[0]


def matching(policy: Policy, branch: str, exact: str) -> str | None:
    """The newest version that is `exact` (the package's, or NVIDIA's own number), of `branch`, or else apt's choice."""
    if exact:
        return next((version for version in policy.versions if exact in (version, upstream(version))), None)
    if branch:
        return next((version for version in policy.versions if version.startswith(f"{branch}.")), None)
    return policy.candidate


def known(policies: Mapping[str, Policy], name: str) -> str:
    """Which versions there are of a package, for a message."""
    return ", ".join(policies[name].versions) if name in policies else "none"
