"""Channels, exported trees and what git says, with real repositories."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from farrier import git
from farrier.channel import tree_of
from farrier.planning import planned
from farrier.problems import InvalidInput
from tests.unit.farrier.conftest import SMALL, Repository

VARIABLES = {"farrier_stacks": ["demo"], "ansible_host": "192.0.2.1"}


class Tracked:
    """A repository of stacks under git, with a bare one that it pushes to."""

    def __init__(self, repository: Repository, remote: Path) -> None:
        self.root, self.remote, self.repository = repository.root, remote, repository
        subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
        self.git("init", "-q", "-b", "main")
        self.git("remote", "add", "origin", str(remote))
        (self.root / ".gitignore").write_text("build/\n")
        repository.stack("demo")

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.org", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(self.root), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, description: str = "A test", tag: str | None = None) -> str:
        """Commit everything, with that description of the stack; the commit."""
        stack = self.root / "stacks" / "demo" / "stack.yml"
        stack.write_text(SMALL.replace("description: A test", f"description: {description}"))
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", description)
        if tag:
            self.git("tag", tag)
        return self.git("rev-parse", "HEAD")

    def problem(self, channel: str) -> str:
        with pytest.raises(InvalidInput) as caught:
            tree_of(self.root, channel, "inventory variables of pegasus")
        return str(caught.value)

    def description(self, channel: str) -> tuple[str, str]:
        """What the plan of a host of that channel says of its stack, and the version of the release."""
        made = planned(self.root, "pegasus", VARIABLES | {"farrier_channel": channel})
        return made.plan.stacks[0].description, made.tree.version


@pytest.fixture
def tracked(repository: Repository, tmp_path: Path) -> Tracked:
    return Tracked(repository, tmp_path.with_name(tmp_path.name + "-remote.git"))


def test_a_tree_without_a_repository_is_no_checkout(tmp_path: Path) -> None:
    found = git.checkout(tmp_path)
    assert found.commit is None
    assert not found.pushed
    assert "not a git repository" in found.complaint
    assert git.describe(tmp_path) == "unversioned"


def test_a_repository_without_a_commit_is_told(tracked: Tracked) -> None:
    assert git.checkout(tracked.root) == git.Checkout(None, complaint="it has no commit yet")


def test_changed_and_unknown_files_are_named_and_ignored_ones_are_not(tracked: Tracked) -> None:
    commit = tracked.commit()
    assert git.checkout(tracked.root) == git.Checkout(commit)
    assert git.describe(tracked.root) == commit[:7]
    (tracked.root / "stacks" / "models.yml").write_text("models: [ ]\n")
    (tracked.root / "new file ü").write_text("x")
    (tracked.root / "build").mkdir()
    (tracked.root / "build" / "log").write_text("x")
    assert git.checkout(tracked.root).changed == ("new file ü", "stacks/models.yml")
    assert git.describe(tracked.root) == f"{commit[:7]}-dirty"


def test_the_repository_of_a_calling_hook_is_not_meant(tracked: Tracked, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = tracked.commit()
    monkeypatch.setenv("GIT_DIR", str(tracked.remote))
    assert git.checkout(tracked.root).commit == commit


def test_a_commit_is_pushed_when_a_remote_branch_holds_it(tracked: Tracked) -> None:
    first = tracked.commit("one")
    assert not git.checkout(tracked.root).pushed
    tracked.git("push", "-q", "origin", "main")
    second = tracked.commit("two")
    assert not git.checkout(tracked.root).pushed
    assert git.is_pushed(tracked.root, first)
    tracked.git("push", "-q", "origin", "main:other")
    assert git.is_pushed(tracked.root, second)


def test_unstable_is_the_working_tree_as_it_is(tracked: Tracked) -> None:
    commit = tracked.commit("committed")
    stack = tracked.root / "stacks" / "demo" / "stack.yml"
    stack.write_text(SMALL.replace("A test", "edited"))
    assert tracked.description("unstable") == ("edited", f"{commit[:7]}-dirty")
    assert not (tracked.root / "build").exists()


def test_stable_is_the_newest_version_that_head_contains(tracked: Tracked) -> None:
    tracked.commit("nine", tag="v1.9.0")
    tracked.commit("ten", tag="v1.10.0")
    tracked.commit("candidate", tag="v2.0.0-rc1")
    tracked.git("checkout", "-q", "-b", "side")
    tracked.commit("side", tag="v3.0.0")
    tracked.git("checkout", "-q", "main")
    tracked.commit("later")
    assert tracked.description("stable") == ("ten", "v1.10.0")
    assert tracked.description("v3.0.0") == ("side", "v3.0.0")


def test_a_commit_is_planned_whole_whatever_the_tree_holds(tracked: Tracked) -> None:
    commit = tracked.commit("old")
    digest = planned(tracked.root, "pegasus", VARIABLES).plan.stacks[0].code
    (tracked.root / "stacks" / "demo" / "code" / "hello.py").write_text("app = 1\n")
    (tracked.root / "stacks" / "demo" / "envs" / "web.lock").write_text("another lock\n")
    tracked.commit("new")
    for name in (commit, commit[:9]):
        assert tracked.description(name) == ("old", commit[:7])
    plan = planned(tracked.root, "pegasus", VARIABLES | {"farrier_channel": commit}).plan
    assert plan.stacks[0].code == digest
    assert (tracked.root / "build" / "trees" / commit / plan.envs[0].lock).read_text() == "a lock\n"


def test_an_exported_tree_is_made_once_and_leaves_nothing_beside_it(tracked: Tracked) -> None:
    commit = tracked.commit()
    folder = tracked.root / "build" / "trees" / commit
    git.export(tracked.root, commit, folder)
    (folder / "mark").write_text("x")
    assert git.export(tracked.root, commit, folder) == folder
    assert (folder / "mark").exists()
    assert [path.name for path in folder.parent.iterdir()] == [commit]


def test_the_exported_trees_that_were_used_last_are_kept(tracked: Tracked) -> None:
    commits = [tracked.commit(f"number {number}") for number in range(10)]
    trees = tracked.root / "build" / "trees"
    for age, commit in enumerate([*commits[:8], commits[0], *commits[8:]]):
        tree_of(tracked.root, commit, "x")
        if commit != commits[0] or age == 0:
            os.utime(trees / commit, (age, age))
    assert sorted(path.name for path in trees.iterdir()) == sorted([commits[0], *commits[3:]])


def test_an_export_that_fails_leaves_nothing(tracked: Tracked) -> None:
    tracked.commit()
    folder = tracked.root / "build" / "trees" / "absent"
    with pytest.raises(git.GitFailed):
        git.export(tracked.root, "0" * 40, folder)
    assert not folder.exists()


def test_a_problem_in_another_commit_names_that_commit(tracked: Tracked) -> None:
    tracked.commit("wrong\nservises: {}", tag="v1.0")
    tracked.commit("mended")
    with pytest.raises(InvalidInput, match=r"v1\.0:stacks/demo/stack\.yml:\d+: servises"):
        tracked.description("v1.0")


def test_what_a_channel_cannot_mean_is_told(tracked: Tracked) -> None:
    tracked.commit()
    assert "'stable' is the newest version tag (v1.2.0) in HEAD, and there is none" in tracked.problem("stable")
    assert "there is no version 'v1.0.0': there is no version tag at all" in tracked.problem("v1.0.0")
    tracked.git("tag", "v1.0.1")
    assert "there is no version 'v1.0.0': did you mean 'v1.0.1'?" in tracked.problem("v1.0.0")
    assert "there is no commit 'abcdef1' in this repository: `git fetch`" in tracked.problem("abcdef1")
    assert "'main' is no channel: write unstable, stable, a version" in tracked.problem("main")
    shutil.rmtree(tracked.root / ".git")
    assert "there is none" in tracked.problem("stable")
