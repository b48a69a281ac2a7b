"""`farrier plan --effects` says which units a deploy restarts, starts and removes: systemd then does just that."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.edits import EDITS, QUICK_VERIFY, STACKS, Edit, Tree, generated
from tests.e2e.site import Site, copy_of_the_tree, deploy

_SEED = 4
_COUNT = 44
_QUICK = (
    "hello: processes",
    "hello: a comment and empty lines",
    "knee: pipeline's title",
    "knee: replicas up",
    "hello: another path",
    "knee: replicas down",
)
_PROPERTIES = "Id,ActiveState,UnitFileState,InvocationID"
_UNITS = f"systemctl show --all --property={_PROPERTIES} " + " ".join(f"'{name}*'" for name in STACKS)
_STILL = ("active", "inactive", "failed")
_RELOADS = "journalctl --no-pager --output=cat UNIT=caddy.service _PID=1 | grep -c '^Reloaded' || true"


@dataclass(frozen=True)
class Happened:
    """What became of every unit of every stack: restarted, started, stopped; and whether Caddy read its files again."""

    restarts: frozenset[str]
    starts: frozenset[str]
    stops: frozenset[str]
    reloaded: bool


@dataclass(frozen=True)
class Trial:
    """One edit."""

    name: str
    foretold: Happened
    happened: Happened
    seconds: float

    def line(self) -> str:
        """A row of the table."""
        verdict = "ok   " if self.foretold == self.happened else "WRONG"
        said = f"foretold {shown(self.foretold)}"
        return f"{verdict} {self.seconds:3.0f} s  {self.name}: {said}" + (
            "" if self.foretold == self.happened else f"; happened {shown(self.happened)}"
        )


def shown(what: Happened) -> str:
    """The units by what happens to them."""
    parts = {"restart": what.restarts, "start": what.starts, "stop": what.stops}
    told = [f"{word} {' '.join(sorted(units))}" for word, units in parts.items() if units]
    return ", ".join([*told, *(["Caddy reloads"] if what.reloaded else [])]) or "nothing"


@pytest.fixture(scope="module")
def edited(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    """A tree to edit, which is live, with a knee that is verified quickly; the host is put back at the end."""
    tree = Tree(copy_of_the_tree(tmp_path_factory.mktemp("effects") / "tree"), random.Random(_SEED), [])
    QUICK_VERIFY(tree)
    done = deploy(site.host, tree=tree.root)
    assert done.code == 0, done.output[-3000:]
    yield tree
    assert deploy(site.host).code == 0


def test_the_command_tells_what_happens_to_each_unit(site: Site, edited: Tree) -> None:
    EDITS["hello: processes"](edited)
    before = site.fingerprint()
    told = farrier(site, edited.root)
    assert "hello-web.service: a second generation serves while it restarts, nobody waits (changed: ExecStart)" in told
    assert "knee: nothing changes" in told
    assert "to download: nothing" in told
    assert site.fingerprint() == before


def test_check_mode_ends_with_the_same_text(site: Site, edited: Tree) -> None:
    EDITS["hello: processes"](edited)
    told = farrier(site, edited.root)
    done = deploy(site.host, "--check", "--diff", tree=edited.root)
    assert done.code == 0, done.output[-3000:]
    said = done.output[done.output.rindex("Say what would happen") :]
    assert all(unbroken(line) in unbroken(said) for line in told.splitlines()), said


def unbroken(text: str) -> str:
    """The text however Ansible breaks its lines."""
    return "".join(text.split())


@pytest.mark.timeout(900)  # six deploys, on a machine that may be busy
def test_what_is_foretold_happens(site: Site, edited: Tree) -> None:
    prove(site, edited, [(name, EDITS[name]) for name in _QUICK])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_what_is_foretold_happens_for_every_kind_of_edit(site: Site, edited: Tree) -> None:
    prove(site, edited, list(generated(random.Random(_SEED), _COUNT)))


def prove(site: Site, edited: Tree, edits: list[tuple[str, Edit]]) -> None:
    """Carry out each edit; the table of all is the message of the failure, if one was foretold wrongly."""
    trials = []
    for name, edit in edits:
        edit(edited)
        trials.append(trial(site, edited.root, name))
        print(trials[-1].line(), flush=True)
    right = [each for each in trials if each.foretold == each.happened]
    table = "\n".join(each.line() for each in trials)
    assert len(right) == len(trials), f"{len(right)} of {len(trials)} as foretold\n{table}"


def trial(site: Site, tree: Path, name: str) -> Trial:
    """Foretell and deploy, in one run of Ansible, and look at systemd before and after."""
    started, answer = time.monotonic(), tree.parent / "effects.json"
    answer.unlink(missing_ok=True)
    before, reloads = units(site), site.run(_RELOADS)
    done = deploy(site.host, "-e", f"effects_file={answer}", tree=tree, playbooks=("playbooks/effects.yml", "site.yml"))
    assert done.code == 0, f"{name}:\n{done.output[-4000:]}"
    settle(site)
    after = units(site)
    happened = Happened(
        frozenset(unit for unit in before.keys() & after.keys() if before[unit] != after[unit]),
        frozenset(after.keys() - before.keys()),
        frozenset(before.keys() - after.keys()),
        site.run(_RELOADS) != reloads,
    )
    return Trial(name, foretold(json.loads(answer.read_text())), happened, time.monotonic() - started)


def foretold(effects: dict[str, Any]) -> Happened:
    """The sets of the prediction, of all stacks together."""
    sets = {
        key: frozenset(unit for stack in effects["stacks"] for unit in stack[key])
        for key in ("restarts", "starts", "stops")
    }
    return Happened(**sets, reloaded=effects["reload_front"])


def units(site: Site) -> dict[str, str]:
    """The invocation of every unit of every stack that is up, except slices: those have no process of their own."""
    return {
        unit["Id"]: unit["InvocationID"]
        for unit in shown_units(site)
        if unit["ActiveState"] == "active" and not unit["Id"].endswith(".slice")
    }


def settle(site: Site, within: float = 60) -> None:
    """Wait until nothing is about to start or to end: no unit, no worker that follows later, none that was let go."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        status = json.loads(site.run("farrier-release status --json"))
        moving = [unit["Id"] for unit in shown_units(site) if unit["ActiveState"] not in _STILL or is_let_go(unit)]
        if not moving and not any(status[stack]["followers"] for stack in STACKS):
            return
        time.sleep(0.3)
    pytest.fail(f"still moving: {site.run(_UNITS)}")


def is_let_go(unit: dict[str, str]) -> bool:
    """Whether it is a worker that runs and is no longer wanted."""
    return "@" in unit["Id"] and unit["ActiveState"] == "active" and unit["UnitFileState"] != "enabled"


def shown_units(site: Site) -> list[dict[str, str]]:
    """Every unit of every stack that systemd knows, with the properties asked for."""
    blocks = site.run(_UNITS).strip().split("\n\n")
    return [dict(line.split("=", 1) for line in block.splitlines()) for block in blocks]


def farrier(site: Site, tree: Path) -> str:
    """What `farrier plan --effects` prints, run from the tree."""
    command = [sys.executable, "-c", "from farrier.cli import app; app()"]
    command += ["plan", "--effects", "-i", "inventory/demo", "-l", site.host.name]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE")}
    environment["PYTHONPATH"] = f"{tree}:{tree}/host"
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tree, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
