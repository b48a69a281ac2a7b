"""An exported env as spec and locks: all of its entries, or every problem with them and nothing written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import rattler

from farrier.conda.available import Answer, available
from farrier.conda.export import Export, read_export
from farrier.conda.lock import LockError, ask, lock_text, offered, shown, solve, write
from farrier.conda.python_packages import PipError, Resolver, constraints, locked_names
from farrier.problems import InvalidInput, Problem


@dataclass(frozen=True)
class Converted:
    """What was made. `changed` are the files that were written; `notes` say where a lock differs from the export."""

    packages: tuple[str, ...]  # name=version=build
    python_packages: int
    changed: tuple[Path, ...]
    notes: tuple[str, ...]


def lock_export(
    path: Path,
    spec: Path,
    lock: Path,
    *,
    channel: str | None = None,
    mirrors: Mapping[str, str],
    glibc: str = "2.36",
    cuda: str | None = None,
    indexes: Sequence[str] = (),
) -> Converted:
    """Write the env that was exported to the file `path` as `spec` and `lock`; its `pip:` part goes beside `spec`.

    `channel`, `mirrors`, `glibc` and `cuda` are as for `lock_environment`; `indexes` are package indexes, the public
    one when there are none. Raises InvalidInput with every entry that cannot be locked, LockError when a channel cannot
    be reached or the entries do not go together; then nothing is written.
    """
    export, hosts = read_export(path, channel), offered(glibc, cuda)
    urls = [rattler.Channel(name).base_url for name in ([channel] if channel else export.channels)]
    if urls and export.conda:
        answer = ask(path, urls, mirrors, lambda gateway: available(export.conda, urls, gateway, hosts))
    else:
        answer = Answer()
    resolver = Resolver(answer.python or "", tuple(indexes))
    problems = [*export.problems, *answer.problems, *_pip_problems(export, answer, resolver)]
    if problems:
        raise InvalidInput(problems)
    records = solve(path, urls, answer.specs, mirrors=mirrors, offered=hosts)
    texts, python_packages = {spec: _spec_text(export, answer.specs)}, 0
    # An older pip lock of this env must not outlive it, even when there is no `pip:` part now.
    if export.pip or spec.with_suffix(".txt").exists():
        wanted, hashed = _pip_texts(export, records, resolver, spec.stem)
        texts |= {spec.with_suffix(".in"): wanted, spec.with_suffix(".txt"): hashed}
        python_packages = len(locked_names(hashed))
    texts[lock] = lock_text(urls, records)
    changed = [file for file, text in texts.items() if write(file, text)]
    notes = (*export.notes, *answer.notes)
    return Converted(tuple(map(shown, records)), python_packages, tuple(changed), notes)


def _pip_problems(export: Export, answer: Answer, resolver: Resolver) -> list[Problem]:
    """What is wrong with the `pip:` part by itself."""
    if not export.pip:
        return []
    if answer.python is None:
        # What is wrong with an entry for Python has been told; without any, the packages have nothing to run in.
        is_named = any(entry.name == "python" for entry in export.conda)
        return [] if is_named else [export.pip[0].problem("the conda part has no Python: add such as python=3.11")]
    try:
        return list(resolver.problems(export.pip))
    except PipError as error:
        raise LockError(f"{export.file}: its `pip:` part cannot be locked: {error}") from None


def _pip_texts(
    export: Export, records: Sequence[rattler.RepoDataRecord], resolver: Resolver, name: str
) -> tuple[str, str]:
    """The .in file and the lock of the `pip:` part, where packages that conda brings have conda's version."""
    if not export.pip:
        return _in_text(export, []), ""
    requirements, pins = [entry.text for entry in export.pip], constraints(records, export.pip)
    try:
        met = locked_names(resolver.lock(name, requirements, list(pins.values()))) & pins.keys()
        held = [pins[package] for package in sorted(met)]
        return _in_text(export, held), resolver.lock(name, [*requirements, *held])
    except PipError as error:
        raise LockError(f"{export.file}: its `pip:` part does not go together: {error}") from None


def _in_text(export: Export, held: Sequence[str]) -> str:
    lines = [f"# From {Path(export.file).name}; `make lock` locks it again after a change.", *_texts(export)]
    if held:
        lines += ["# Packages above need these, and the conda part brings them in these versions.", *held]
    return "".join(f"{line}\n" for line in lines)


def _texts(export: Export) -> list[str]:
    return [entry.text for entry in export.pip]


def _spec_text(export: Export, specs: Sequence[str]) -> str:
    head = f"# From {Path(export.file).name}; `farrier lock` locks it again after a change."
    return "\n".join([head, "channels:", *_listed(export.channels), "dependencies:", *_listed(specs), ""])


def _listed(values: Sequence[str]) -> list[str]:
    return [f'  - "{value}"' for value in values]
