"""What `farrier gpus` shows of the hosts' answers."""

from __future__ import annotations

from typing import Any

import pytest

from farrier.deploy.gpus import code_of, notes, rows
from farrier.deploy.hosts import known
from farrier.deploy.session import Answer

LOST = "0000:3b:00.0: the card has fallen off the bus"


def card(**changed: Any) -> dict[str, Any]:
    process = {"pid": 4711, "name": "python", "user": "alice", "unit": "session-3.scope", "memory": 11 * 1024**3}
    memory = {"total": 16 * 1024**3, "used": 11 * 1024**3, "free": 5 * 1024**3}
    whole = {"index": 0, "pci": "0000:3b:00.0", "model": "Tesla T4", "owner": None, "units": [], "problem": None}
    return whole | {"memory": memory, "processes": [process]} | changed


def answer(*cards: dict[str, Any], problem: str | None = None) -> Answer:
    return Answer(0, {"driver": {"problem": None}, "cards": list(cards), "others": [], "problem": problem}, "")


def test_a_line_says_host_card_unit_process_user_and_memory() -> None:
    (row,) = rows("unicorn", answer(card()))
    assert row == (
        "unicorn",
        "0",
        "Tesla T4 0000:3b:00.0",
        "11.0 GiB of 16.0 GiB",
        "session-3.scope",
        "python (4711)",
        "alice",
        "11.0 GiB",
    )


@pytest.mark.parametrize(
    ("told", "line", "note", "code"),
    [
        (answer(card(problem=LOST, memory=None, processes=[])), "Tesla T4 0000:3b:00.0", LOST, 1),
        (answer(card(), problem="farrier-gpus.service wrote nothing for 9 s"), None, "wrote nothing for 9 s", 1),
        (Answer(0, {}, ""), "the inventory gives it no GPU", None, 0),
        (
            known(Answer(2, None, "[Errno 2] No such file or directory: b'/usr/…'"), None),
            "nothing onto this host",
            None,
            0,
        ),
        (Answer(4, None, "cannot be reached: timed out"), "cannot be reached", None, 4),
    ],
    ids=["a lost card", "a watcher that is down", "no card", "a bare host", "a host that is away"],
)
def test_a_host_that_is_not_well_is_told(told: Answer, line: str | None, note: str | None, code: int) -> None:
    shown = list(rows("unicorn", told))
    assert [line in row[2] for row in shown] == [True] if line else not shown  # numbers that are old are not shown
    assert [note in each for each in notes({"unicorn": told})] == [True] if note else not list(notes({"unicorn": told}))
    assert code_of({"pegasus": answer(card()), "unicorn": told}) == code
