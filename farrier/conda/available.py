"""Which entries of an export the channels still have, asked one by one, so that every missing one can be told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import rattler
from rattler.exceptions import FetchRepoDataError, GatewayError

from farrier.conda.export import Entry
from farrier.conda.lock import PLATFORM
from farrier.problems import Problem
from farrier_env.conda import lacks

Platform = Literal["linux-64", "noarch", "win-64", "osx-arm64", "osx-64", "linux-aarch64"]
_OTHERS: Final[tuple[Platform, ...]] = ("win-64", "osx-arm64", "osx-64", "linux-aarch64")
_SHOWN = 5  # versions that a message lists

Records = list[rattler.RepoDataRecord]
Offered = Mapping[str, rattler.Version]


@dataclass
class Answer:
    """`specs`: what to ask the solver for. `python`: the version that the entries ask for, as 3.11."""

    specs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    python: str | None = None


async def available(
    entries: Sequence[Entry], channels: Sequence[str], gateway: rattler.Gateway, offered: Offered
) -> Answer:
    """What the channels have of the entries, for hosts that offer `offered` (`__glibc`, `__cuda`, …)."""
    wanted = {entry: rattler.MatchSpec(_plain(entry)) for entry in entries}
    records = await _records(channels, (PLATFORM, "noarch"), [_name(spec) for spec in wanted.values()], gateway)
    answer = Answer()
    for entry, spec in wanted.items():
        found = records.get(_name(spec), [])
        if found:
            _judge(entry, spec, found, offered, answer)
        else:
            elsewhere = await _platforms_of(_name(spec), channels, gateway)
            answer.problems.append(entry.problem(_absent(elsewhere, channels)))
    return answer


def _judge(entry: Entry, spec: rattler.MatchSpec, found: Records, offered: Offered, answer: Answer) -> None:
    """Add to `answer` what becomes of an entry whose name is known."""
    exact = [record for record in found if spec.matches(record)]
    loose = f"{_name(spec)} {spec.version or '*'}"
    same_version = [record for record in found if rattler.MatchSpec(loose).matches(record)]
    fit = [record for record in exact if not _unmet(record, offered)]
    if not same_version:
        answer.problems.append(entry.problem(f"no such version: write one of {_newest(found)}"))
        return
    if exact and not fit:
        answer.problems.append(entry.problem(_unfit(exact, offered)))
        return
    if not exact:
        fit = [record for record in same_version if not _unmet(record, offered)]
        if not fit:
            answer.problems.append(entry.problem(_unfit(same_version, offered)))
            return
        answer.notes.append(entry.note(f"the channels no longer have this build: locked by its version, {loose}"))
    answer.specs.append(_from_its_channel(_plain(entry) if exact else loose, fit, found))
    if _name(spec) == "python":
        newest = max(fit, key=lambda record: record.version)
        answer.python = ".".join(str(newest.version).split(".")[:2])


def _plain(entry: Entry) -> str:
    return entry.text.rpartition("::")[2]


def _from_its_channel(spec: str, fit: Records, found: Records) -> str:
    """`spec`, with the channel when an earlier one has the package in other versions: it would be asked alone."""
    channels = {record.channel for record in fit}
    first = found[0].channel  # the gateway answers in the order of the channels
    return spec if first in channels else f"{fit[0].channel}::{spec}"


def _name(spec: rattler.MatchSpec) -> str:
    return str(spec.name.normalized)


async def _records(
    channels: Sequence[str], platforms: Sequence[Platform], names: Iterable[str], gateway: rattler.Gateway
) -> dict[str, Records]:
    found: dict[str, Records] = {}
    for part in await gateway.query(channels, platforms, sorted(set(names)), recursive=False):
        for record in part:
            found.setdefault(record.name.normalized, []).append(record)
    return found


async def _platforms_of(name: str, channels: Sequence[str], gateway: rattler.Gateway) -> Sequence[str]:
    """Other platforms that have a package of this name."""
    having = []
    for platform in _OTHERS:
        try:
            if await _records(channels, [platform], [name], gateway):
                having.append(platform)
        except (FetchRepoDataError, GatewayError):  # a channel need not have every platform
            continue
    return having


def _absent(elsewhere: Sequence[str], channels: Sequence[str]) -> str:
    if elsewhere:
        return (
            f"only for {', '.join(elsewhere)}, and the hosts are {PLATFORM}: remove it, or export the env on a Linux "
            "machine (`conda env export --from-history` leaves out what only one platform needs)"
        )
    return (
        f"no package of this name in {', '.join(channels)}: add the channel that has it under `channels:`, "
        "move it under `pip:` if it is a Python package, or remove it"
    )


def _unmet(record: rattler.RepoDataRecord, offered: Offered) -> list[str]:
    """What the record needs of a host that these do not offer."""
    asked = [need for need in record.depends if need.startswith("__")]
    return [need for need in asked if lacks(record.name.normalized, [need], dict(offered))]


def _unfit(records: Records, offered: Offered) -> str:
    needs = sorted({need for record in records for need in _unmet(record, offered)})
    shown = ", ".join(needs)
    if any(need.startswith("__cuda") for need in needs):
        has = f"--cuda says {offered['__cuda']}" if "__cuda" in offered else "no GPU was named"
        return f"needs {shown}, and {has}: say which one the hosts' `nvidia-smi` shows, such as --cuda 12.4"
    if any(need.startswith("__glibc") for need in needs):
        return f"needs {shown}, and the hosts have {offered['__glibc']}: write an older version, or say --glibc VERSION"
    return f"needs {shown}, which no {PLATFORM} host has: remove it"


def _newest(found: Records) -> str:
    versions = sorted({record.version for record in found}, reverse=True)
    more = f" ({len(versions) - _SHOWN} older ones)" if len(versions) > _SHOWN else ""
    name = found[0].name.normalized
    return ", ".join(f"{name}={version}" for version in versions[:_SHOWN]) + more
