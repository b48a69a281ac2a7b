"""Whether a job may start on a card: the decision, the locks with real processes, and what people are told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.core.admin.view import facts, listed
from app.core.gpu import admission
from app.core.gpu.admission import HostCards
from app.core.gpu.decide import Need, Reservation, crowded, obstacle
from app.core.gpu.health import gpu_checks, gpu_facts
from app.core.gpu.locks import Held, reservations, take
from app.core.gpu.state import Card, NoAnswer, State, read_state
from app.core.ledger import Jobs, watch
from app.core.service import open_service
from app.core.settings import SettingsError, read_settings
from app.knee.web import create_app
from tests.unit.app.fake_gpu import GIB, UNIT, card, process, write_state
from tests.unit.app.places import REPOSITORY
from tests.unit.app.running_site import PHANTOM, site_environment, wait_for
from tests.unit.app.uploads import upload

WHOLE = Need(UNIT, (0,), None)
SHARE = Need(UNIT, (0,), 8 * GIB)
OTHER = "knee-worker@1.service"
# Holds a share of 6 GB (or, without a size, all) of card 0 until it is killed, or its input ends.
HOLDER = """
import sys
from pathlib import Path
from app.core.gpu.decide import Need
from app.core.gpu.locks import take
size = int(sys.argv[2]) if len(sys.argv) > 2 else None
with take(Path(sys.argv[1]), Need("knee-worker@1.service", (0,), size), lambda card, others: None):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_state(tmp_path / "gpu", card())
    return tmp_path / "gpu"


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "LOOK_EVERY", 0.05)


@pytest.fixture
def holder(run: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started = []

    def start(*size: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDER, str(run), *map(str, size)]
        made = subprocess.Popen(command, stdin=-1, stdout=-1, text=True, cwd=REPOSITORY)
        started.append(made)
        assert made.stdout is not None
        assert made.stdout.readline() == "held\n"
        write_state(run, card())  # its start may have taken longer than a word is believed
        return made

    yield start
    for each in started:
        each.kill()
        each.communicate()


ALICE = process(4711, 11 * GIB)
XORG = process(800, GIB // 8, name="Xorg", user="root")
NEIGHBOUR = process(900, 2 * GIB, OTHER, user="knee")
TOLD = "11 GB held by python (PID 4711, alice, no unit of ours)"


@pytest.mark.parametrize(
    ("need", "there", "others", "words"),
    [
        (WHOLE, card(), (), None),
        (WHOLE, card(XORG), (), None),
        (SHARE, card(process(1, 8 * GIB)), (), None),
        (WHOLE, card(ALICE), (), f"{TOLD}; 5 GB of 16 GB free, 14 GB needed"),
        (SHARE, card(XORG, ALICE), (), f"{TOLD}, 128 MB held by Xorg (PID 800, root, no unit of ours); 5 GB of"),
        (WHOLE, card(), (Reservation(OTHER, 900, None),), "its lock is held by knee-worker@1.service (PID 900)"),
        (WHOLE, card(), (Reservation(OTHER, 900, GIB),), "its lock is held by knee-worker@1.service (PID 900)"),
        (SHARE, card(), (Reservation(OTHER, 900, None),), "its lock is held by"),
        (SHARE, card(), (Reservation(OTHER, 900, 8 * GIB),), None),
        # Declared and not yet taken is not given twice; what was taken of it counts once.
        (SHARE, card(), (Reservation(OTHER, 900, 9 * GIB),), "9 GB promised to knee-worker@1.service; 16 GB of 16"),
        (SHARE, card(NEIGHBOUR), (Reservation(OTHER, 900, 9 * GIB),), "7 GB promised to knee-worker@1.service; 14 GB"),
        (SHARE, card(NEIGHBOUR), (Reservation(OTHER, 900, 8 * GIB),), None),
        (
            SHARE,
            card() | {"processes": [], "memory": {"total": 16 * GIB, "used": 12 * GIB, "free": 4 * GIB}},
            (),
            "12 GB",
        ),
        (SHARE, card(problem="fell off the bus: reboot"), (), "fell off the bus: reboot"),
        (SHARE, card() | {"memory": None}, (), "its memory cannot be read"),
    ],
)
def test_job_starts_when_lock_and_memory_are_free(
    need: Need, there: dict[str, Any], others: tuple[Reservation, ...], words: str | None
) -> None:
    said = obstacle(need, Card.model_validate(there), others)
    assert (said is None) if words is None else words in (said or "")


def test_what_the_job_before_has_left_in_the_file_is_free() -> None:
    there = Card.model_validate(card(process(5, 15 * GIB, UNIT)))
    assert obstacle(WHOLE, there, (), ended={5}) is None
    assert "15 GB held by python (PID 5, alice, knee-worker@0.service)" in (obstacle(WHOLE, there, ()) or "")


@pytest.mark.parametrize(
    ("need", "processes", "blamed"),
    [
        (WHOLE, [process(1, 15 * GIB, UNIT)], None),
        (WHOLE, [process(1, 15 * GIB, UNIT), XORG], None),
        (WHOLE, [process(1, 4 * GIB, UNIT), ALICE], TOLD),
        (SHARE, [process(1, 12 * GIB, UNIT), NEIGHBOUR], None),
        (SHARE, [process(1, 12 * GIB, UNIT), process(7, GIB)], "1 GB held by python (PID 7, alice, no unit of ours)"),
        (
            SHARE,
            [process(1, 4 * GIB, UNIT), process(900, 12 * GIB, OTHER)],
            "12 GB held by python (PID 900, alice, knee-w",
        ),
        (WHOLE, [process(1, 11 * GIB) | {"user": None, "name": None}], None),  # it ended while it was looked up
    ],
)
def test_others_are_to_blame_only_where_they_took_what_the_job_declared(
    need: Need, processes: list[dict[str, Any]], blamed: str | None
) -> None:
    said = crowded(need, State.model_validate({"at": 0, "cards": [card(*processes)]}))
    assert (said is None) if blamed is None else blamed in (said or "")


def test_name_of_a_process_cannot_look_like_something_else() -> None:
    strange = Card.model_validate(card(process(1, 15 * GIB, name="<b>x</b>\n" + "y" * 100)))
    assert f"held by ?b?x?/b??{'y' * 31} (PID 1" in (obstacle(WHOLE, strange, ()) or "")


def test_without_a_fresh_word_of_the_driver_nothing_is_known(tmp_path: Path) -> None:
    with pytest.raises(NoAnswer, match=r"state\.json cannot be read .*see `systemctl status farrier-gpus\.service`"):
        read_state(tmp_path)
    write_state(tmp_path, card(), age=6)
    with pytest.raises(NoAnswer, match=r"the driver does not answer: the last word is \d+ s old"):
        read_state(tmp_path)
    write_state(tmp_path, card(), driver={"problem": "Driver/library version mismatch: reboot"})
    with pytest.raises(NoAnswer, match=r"^Driver/library version mismatch: reboot$"):
        read_state(tmp_path)


def _refused(run: Path, need: Need) -> str:
    cards = HostCards(need, run)
    said: list[str] = []
    asked = iter([True, False])

    def tell(words: str | None) -> bool:
        said.append(words or "")
        return True

    with cards.held(lambda: next(asked), tell) as held:
        assert not held
    assert said[1:] == [""]  # nothing is waited for any more
    return said[0]


def _given(run: Path, need: Need) -> bool:
    asked = iter([True, False])
    with HostCards(need, run).held(lambda: next(asked), lambda _: True) as held:
        return held


def test_card_that_is_held_is_not_given_until_its_holder_is_killed(
    run: Path, holder: Callable[..., subprocess.Popen[str]]
) -> None:
    assert _given(run, WHOLE)
    first = holder()
    assert _refused(run, WHOLE) == f"waiting for GPU 0: its lock is held by {OTHER} (PID {first.pid})"
    assert "its lock is held by" in _refused(run, SHARE)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert _given(run, WHOLE)
    assert reservations(run / "card-0") == []


def test_shares_stand_side_by_side_as_long_as_all_that_was_declared_fits(
    run: Path, holder: Callable[..., subprocess.Popen[str]]
) -> None:
    first, second = holder(6 * GIB), holder(3 * GIB)
    assert "9 GB promised to knee-worker@1.service; 16 GB of 16 GB free, 8 GB needed" in _refused(run, SHARE)
    assert "its lock is held by" in _refused(run, WHOLE)
    second.kill()
    second.wait()
    assert _given(run, SHARE)
    assert reservations(run / "card-0") == [Reservation(OTHER, first.pid, 6 * GIB)]


def test_of_many_that_look_at_once_only_as_many_start_as_fit(run: Path) -> None:
    write_state(run, card())
    start, done, held = threading.Barrier(8), threading.Event(), []

    def one(number: int) -> None:
        need = Need(f"knee-worker@{number}.service", (0,), 6 * GIB)
        there = read_state(run).cards[0]
        start.wait()
        try:
            with take(run, need, lambda _, others: obstacle(need, there, others)):
                held.append(number)
                done.wait(20)
        except Held:
            held.append(-1)

    threads = [threading.Thread(target=one, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(held) == 8, "all answers")
    done.set()
    for thread in threads:
        thread.join()
    assert sum(number >= 0 for number in held) == 2


def test_of_two_cards_none_is_kept_while_the_other_cannot_be_had(run: Path) -> None:
    write_state(run, card(), card(ALICE, index=1))
    assert _refused(run, Need(UNIT, (0, 1), None)).startswith(f"waiting for GPU 1: {TOLD}")
    assert list((run / "card-0").glob("hold-*")) == []
    write_state(run, card())
    assert _refused(run, Need(UNIT, (0, 1), None)) == "waiting for GPU 1: it is not there"


def test_anybody_can_keep_jobs_off_a_card_with_flock(run: Path) -> None:
    lock = run / "card-0/lock"
    with subprocess.Popen(["flock", str(lock), "sh", "-c", "echo held; read x"], stdin=-1, stdout=-1) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert _refused(run, SHARE) == f"waiting for GPU 0: another program holds {lock}"
    assert _given(run, SHARE)


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (card(ALICE, xid=13), "ok"),
        (card(problem="its PCI address changed"), "GPU 0: its PCI address changed"),
        (card(index=1), "GPU 0 is not there; see `farrier-gpus`"),
    ],
)
def test_readiness_tells_what_is_wrong_with_the_stacks_cards(run: Path, there: dict[str, Any], said: str) -> None:
    write_state(run, there)
    assert {name: check() for name, check in gpu_checks(run, [0]).items()} == {"gpu:0": said}


def test_readiness_does_not_wait_for_a_driver_that_hangs(run: Path) -> None:
    write_state(run, card(), age=7)
    (check,) = gpu_checks(run, [0]).values()
    assert "the driver does not answer: the last word is" in check()
    assert gpu_facts(run, [0]) == []
    assert gpu_checks(run, []) == {}


def test_site_with_gpus_tells_of_them(run: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    del environment
    monkeypatch.setenv("FARRIER_STACK_GPUS", "0,1")
    monkeypatch.setenv("FARRIER_GPU_RUN", str(run))
    client = TestClient(create_app())
    write_state(run, card(ALICE, xid=31))
    ready = client.get("/health/ready").json()
    assert (ready["checks"]["gpu:0"], ready["checks"]["gpu:1"]) == ("ok", "GPU 1 is not there; see `farrier-gpus`")
    memory = {"total": 16 * GIB, "used": 11 * GIB, "free": 5 * GIB}
    assert ready["gpus"] == [{"index": 0, "model": "Tesla T4", "memory": memory, "xid": 31}]
    assert client.get("/health").json()["gpu"] == "unavailable"
    write_state(run, card(), card(index=1))
    assert client.get("/health").json()["gpu"] == "available"


def test_status_and_admin_say_what_the_queue_waits_for(client: TestClient, site_jobs: Jobs) -> None:
    _, job = upload(client, "knee.nii.gz", PHANTOM.read_bytes())
    service = open_service(os.environ)
    service.workers.beat("worker@0", ["knee"], 60)
    assert service.workers.idle_queues() == {"knee"}
    assert service.workers.wait("worker@0", f"waiting for GPU 1: {TOLD}")
    assert service.workers.idle_queues() == set()  # a call would wake nobody
    assert client.get(f"/status/{job['job_id']}").json()["message"] == f"waiting for GPU 1: {TOLD}"
    found = site_jobs.find(job["job_id"])
    assert found is not None
    assert f"number 1; waiting for GPU 1: {TOLD}" in listed(service, [found], colour=False)
    assert f"waits:      waiting for GPU 1: {TOLD}" in "\n".join(facts(service, found, colour=False))
    look = watch.look(service.database, service.clock, [found.id])[found.id]
    assert (look.position, look.waiting) == (1, f"waiting for GPU 1: {TOLD}")
    service.workers.beat("worker@0", ["knee"], 60, draining=True)
    assert "message" not in client.get(f"/status/{job['job_id']}").json()


@pytest.mark.parametrize(
    ("environment", "cards", "memory"),
    [
        ({}, (), None),
        ({"FARRIER_GPU_CARDS": "0,2", "FARRIER_GPU_MEMORY": ""}, (0, 2), None),
        ({"FARRIER_GPU_CARDS": "1", "FARRIER_GPU_MEMORY": str(8 * GIB)}, (1,), 8 * GIB),
    ],
)
def test_unit_says_which_cards_are_its(
    tmp_path: Path, environment: dict[str, str], cards: tuple[int, ...], memory: int | None
) -> None:
    settings = read_settings(site_environment(tmp_path, {}) | environment)
    assert (settings.gpu_cards, settings.gpu_memory) == (cards, memory)


def test_cards_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="FARRIER_GPU_CARDS is 'all'; write numbers of cards: 0,1"):
        read_settings(site_environment(tmp_path, {}) | {"FARRIER_GPU_CARDS": "all"})
