"""Which release may serve which database."""

from __future__ import annotations

from typing import Any

import pytest

from farrier_host.release.schema import command, refusal


def plan(writes: str | None, floor: str = "0001") -> dict[str, Any]:
    if writes is None:
        return {"name": "jobs"}
    return {"schema": {"command": ["/env/bin/python", "-m", "app.migrate"], "writes": writes, "floor": floor}}


@pytest.mark.parametrize(
    ("target", "current", "refused"),
    [
        (plan("0001"), plan("0001"), False),
        (plan("0002"), plan("0001"), False),
        (plan("0001"), plan("0003"), False),
        (plan("0001"), plan("0003", "0002"), True),
        (plan("0002"), plan("0003", "0002"), False),
        (plan(None), plan("0003"), False),
        (plan(None), plan("0003", "0003"), True),
        (plan("0003", "0003"), plan(None), False),
        (plan(None), plan(None), False),
    ],
)
def test_a_release_serves_a_database_down_to_its_floor(
    *, target: dict[str, Any], current: dict[str, Any], refused: bool
) -> None:
    assert bool(refusal(target, current)) is refused


def test_a_refusal_says_which_schemas_and_what_to_do() -> None:
    said = refusal(plan("0001"), plan("0003", "0002")) or ""
    for words in ("has schema 0003", "schema 0002 and later", "this release has schema 0001", "migrations.md"):
        assert words in said


def test_the_command_names_the_schemas_of_the_kept_releases_once() -> None:
    kept = [plan("0002"), plan(None), plan("0002")]
    program = ["/env/bin/python", "-m", "app.migrate"]
    assert command(plan("0003"), kept) == [*program, "--kept", "0001,0002"]
    assert command(plan("0003"), []) == [*program, "--kept", ""]
    assert command(plan(None), kept) == []
