"""GPU cards in the plan: who gets which, what is refused, and what a host without cards leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from farrier.plan.model import StackPlan
from farrier.render import release_files
from farrier.report import show_plan

TEMPLATES = Path(__file__).parents[3] / "systemd"
T4 = {"model": "Tesla T4", "memory": "15G", "capability": 7.5}
TITAN = {"model": "Titan Xp", "memory": "12G", "capability": "6.1"}
LLM = T4 | {"owner": "the LLM's"}
OPTIONAL = """\
  extra: {kind: celery, app: hello:celery, env: extra, queues: [slow], gpus: {without: skip}}
pipelines:"""


def cards(*models: dict[str, Any]) -> list[dict[str, Any]]:
    return [model | {"pci": f"0000:{0x3B + place:02x}:00.0"} for place, model in enumerate(models)]


def worker(jobs: str, gpus: str, replicas: int = 1) -> str:
    """A stack whose worker asks for cards."""
    return jobs.replace("replicas: 2", f"replicas: {replicas}, gpus: {gpus}")


def stack_of(repository: Any, text: str, *models: dict[str, Any]) -> StackPlan:
    repository.stack("knee", text)
    stack: StackPlan = repository.plan("knee", farrier_gpus=cards(*models)).stacks[0]
    return stack


def placed(stack: StackPlan) -> dict[str, tuple[tuple[int, ...], int | None]]:
    return {share.unit.partition("-")[2]: (share.cards, share.memory) for share in stack.gpus}


def refusal(repository: Any, text: str, *models: dict[str, Any]) -> str:
    repository.stack("knee", text)
    (problem,) = repository.problems("knee", farrier_gpus=cards(*models))
    return str(problem)


def units_of(stack: StackPlan) -> dict[str, str]:
    return {name.removeprefix("units/"): text for name, text in release_files(stack, TEMPLATES).items()}


def test_each_replica_gets_cards_of_its_own(repository: Any, jobs: str) -> None:
    stack = stack_of(repository, worker(jobs, "{}", replicas=2), T4, T4)
    assert placed(stack) == {"worker@0.service": ((0,), None), "worker@1.service": ((1,), None)}


def test_shares_fill_a_card_before_they_begin_another(repository: Any, jobs: str) -> None:
    stack = stack_of(repository, worker(jobs, "{memory: 5G}", replicas=4), T4, T4)
    assert [share.cards for share in stack.gpus] == [(1,), (1,), (1,), (0,)]


def test_a_share_goes_where_the_least_is_left(repository: Any, jobs: str) -> None:
    assert placed(stack_of(repository, worker(jobs, "{memory: 5G}"), T4, TITAN)) == {
        "worker@0.service": ((1,), 5 * 2**30)
    }


def test_a_card_that_is_too_old_is_passed_over(repository: Any, jobs: str) -> None:
    text = worker(jobs, '{memory: 5G, min_capability: "7.0"}')
    assert placed(stack_of(repository, text, TITAN, T4)) == {"worker@0.service": ((1,), 5 * 2**30)}


@pytest.mark.parametrize("name", ["1", '"0000:3c:00.0"', '"00000000:3C:00.0"'])
def test_a_card_can_be_named(repository: Any, jobs: str, name: str) -> None:
    stack = stack_of(repository, worker(jobs, f"{{cards: [{name}]}}"), T4, T4)
    assert placed(stack) == {"worker@0.service": ((1,), None)}


@pytest.mark.parametrize("gpus", ["all", "{count: all}"])
def test_all_is_every_card_that_is_nobodys(repository: Any, jobs: str, gpus: str) -> None:
    assert placed(stack_of(repository, worker(jobs, gpus), T4, LLM, T4)) == {"worker@0.service": ((0, 2), None)}


def test_named_cards_go_first_and_others_get_the_rest(repository: Any, jobs: str) -> None:
    text = worker(jobs, "{}").replace("pipelines:", OPTIONAL.replace("{without: skip}", "{cards: [0]}"))
    text = text.replace("env: extra", "env: app")
    assert placed(stack_of(repository, text, T4, T4)) == {
        "worker@0.service": ((1,), None),
        "extra@0.service": ((0,), None),
    }


def test_another_stack_on_the_host_moves_nobody(repository: Any, jobs: str) -> None:
    repository.stack("knee", worker(jobs, "{memory: 5G}", replicas=2))
    repository.stack("other", worker(jobs.replace("path: /jobs", "path: /other"), "{}"))
    gpus = cards(T4, T4)
    alone = repository.plan("knee", farrier_gpus=gpus).stacks[0]
    both = repository.plan("knee", "other", farrier_gpus=gpus).stacks
    assert placed(both[0]) == placed(alone)
    assert placed(both[1]) == {"worker@0.service": ((0,), None)}


def test_a_card_that_is_too_old_for_all_is_refused_with_who_holds_what(repository: Any, jobs: str) -> None:
    assert refusal(repository, worker(jobs, "{min_capability: 7.0, without: cpu}"), TITAN, LLM) == (
        "stacks/knee/stack.yml:7: services.worker.gpus.min_capability: capability 7.0 is asked for, and GPU 0 (Titan "
        "Xp) has 6.1; lower `min_capability` if the program runs there, or give the card an `owner` in farrier_gpus: "
        "no stack gets it then, and with no card left `without` decides\n"
        "      GPU  PCI address   model     memory  capability  held by\n"
        "      0    0000:3b:00.0  Titan Xp  12 GiB  6.1         12 GiB free\n"
        "      1    0000:3c:00.0  Tesla T4  15 GiB  7.5         the LLM's (no stack's)"
    )


@pytest.mark.parametrize(
    ("gpus", "said"),
    [
        ("{memory: 20G}", "gpus.memory: 20 GiB are asked for, and GPU 0 (Tesla T4) has 15 GiB; lower `memory`"),
        ("{count: 3}", "gpus.count: 3 cards are asked for, and this host has 2 cards for its stacks"),
        ('{count: 2, min_capability: "7.0"}', "gpus.min_capability: 2 cards are asked for, and 1 is new enough"),
        ("{cards: [2]}", "gpus.cards[0]: GPU 2 is the LLM's, and no stack's; name another one"),
        ("{cards: [0, 7]}", "gpus.cards[1]: this host has no GPU 7; farrier_gpus says: 0 (0000:3b:00.0), 1 ("),
        ('{cards: [1], min_capability: "7.0"}', "gpus.min_capability: capability 7.0 is asked for, and GPU 1 (Titan"),
        ('{count: all, min_capability: "7.0"}', "gpus.min_capability: capability 7.0 is asked for, and GPU 1 (Titan"),
    ],
)
def test_what_no_card_of_the_host_can_give_is_refused(repository: Any, jobs: str, gpus: str, said: str) -> None:
    assert f"stack.yml:7: services.worker.{said}" in refusal(repository, worker(jobs, gpus), T4, TITAN, LLM)


def test_over_commitment_is_refused_and_the_table_tells_who_holds_the_cards(repository: Any, jobs: str) -> None:
    said = refusal(repository, worker(jobs, "{memory: 8G}", replicas=3), T4, T4)
    assert "no room for knee-worker@2.service, which asks for 8 GiB of 1 GPU; lower `memory`" in said
    assert "0    0000:3b:00.0  Tesla T4  15 GiB  7.5         knee-worker@1.service 8 GiB, 7 GiB free" in said
    assert "1    0000:3c:00.0  Tesla T4  15 GiB  7.5         knee-worker@0.service 8 GiB, 7 GiB free" in said


def test_a_whole_card_is_shared_with_nobody(repository: Any, jobs: str) -> None:
    said = refusal(repository, worker(jobs, "{cards: [0]}", replicas=2), T4)
    assert "no room for knee-worker@1.service, which asks for GPU 0 for itself alone" in said
    assert "knee-worker@0.service whole\n" in f"{said}\n"


def test_every_refusal_is_told_at_once_and_the_table_once(repository: Any, jobs: str) -> None:
    two = worker(jobs, "{memory: 20G}").replace("routes:", "gpus: {count: 2, memory: 2G}, routes:")
    repository.stack("knee", two)
    problems = repository.problems("knee", farrier_gpus=cards(T4, TITAN | {"memory": "1G"}))
    assert ["held by" in problem for problem in problems] == [False, True]


@pytest.mark.parametrize(
    ("gpus", "said"),
    [
        ("{count: 0}", "write a number of cards from 1 to 64, or all (got 0)"),
        ("yes", "write all, or what it needs: {count: 1, memory: 8G} (got 'yes')"),
        ("{cpu: 1}", "unknown key 'cpu': known here: cards, count, memory, min_capability, without"),
        ("{count: 1, cards: [0]}", "write either count or cards"),
        ("{cards: [0, 0]}", "cards names one card twice"),
        ("{cards: [3b]}", 'write a PCI address in quotation marks, like "0000:3b:00.0"'),
        ("{min_capability: new}", 'write a compute capability like "7.5"'),
    ],
)
def test_a_wrong_word_is_told_with_the_right_one(repository: Any, jobs: str, gpus: str, said: str) -> None:
    assert said in refusal(repository, worker(jobs, gpus), T4)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"pci": "3b"}, "farrier_gpus[0].pci: write a PCI address in quotation marks"),
        ({"memory": "lots"}, "farrier_gpus[0].memory: write a size like 512M or 2G (got 'lots')"),
        ({"memori": 1}, "farrier_gpus[0].memori: unknown key 'memori': did you mean 'memory'?"),
        ({"pci": "0000:3c:00.0"}, "farrier_gpus: cards 0 and 1 have the same address, 0000:3c:00.0"),
        ({"minor": 1}, "farrier_gpus: cards 0 and 1 are both /dev/nvidia1; mend their `minor`"),
    ],
)
def test_a_wrong_host_variable_is_told_with_its_key(
    repository: Any, small: str, wrong: dict[str, Any], said: str
) -> None:
    repository.stack("knee", small)
    gpus = cards(T4, T4)
    (problem,) = repository.problems("knee", farrier_gpus=[gpus[0] | wrong, gpus[1]])
    assert said in problem


def test_a_host_without_cards_runs_the_service_all_the_same(repository: Any, jobs: str) -> None:
    plain = units_of(stack_of(repository, worker(jobs, "{}").replace(", gpus: {}", "")))
    stack = stack_of(repository, worker(jobs, "{count: 2, without: cpu}"))
    assert (stack.gpus, stack.on_cpu) == ((), ("worker",))
    units = units_of(stack)
    assert {name: text for name, text in units.items() if name != "plan.json"} == {
        name: text for name, text in plain.items() if name != "plan.json"
    }


def test_a_host_whose_cards_are_all_somebodys_has_none_for_stacks(repository: Any, jobs: str) -> None:
    assert stack_of(repository, worker(jobs, "{without: cpu}"), LLM).on_cpu == ("worker",)
    said = refusal(repository, worker(jobs, "{}"), LLM)
    assert "services.worker.gpus: every GPU of pegasus has an owner (farrier_gpus among its" in said


def test_without_a_word_about_it_a_host_without_cards_is_refused(repository: Any, jobs: str) -> None:
    said = refusal(repository, worker(jobs, "all"))
    assert "stack.yml:7: services.worker.gpus: pegasus has no GPU (farrier_gpus among its inventory variables)" in said
    assert "`without: cpu` runs the service all the same, `without: skip` leaves it out" in said


@pytest.fixture
def optional(repository: Any, jobs: str) -> str:
    """A stack with a worker that only a GPU host runs, an env of its own, and what hangs on it."""
    repository.stack("knee")
    (repository.root / "stacks/knee/envs/extra.lock").write_text("an extra lock\n")
    text = jobs.replace("pipelines:", OPTIONAL).replace("web.lock}}", "web.lock}, extra: {conda: envs/extra.lock}}")
    follower = "  tidy: {kind: timer, run: hello, env: extra, every: 5m, after: {extra: started}}\npipelines:"
    return text.replace("pipelines:", follower) + "commands: {look: {service: extra, run: hello}}\n"


def test_a_host_without_cards_leaves_out_a_service_and_what_hangs_on_it(repository: Any, optional: str) -> None:
    stack = stack_of(repository, optional)
    assert [(left.what, left.why) for left in stack.left_out] == [
        ("extra", "pegasus has no GPU for it"),
        ("tidy", "it needs extra"),
        ("command look", "it needs extra"),
        ("env extra", "no service is left that uses it"),
    ]
    assert {unit.service for unit in stack.units} == {"redis", "web", "worker"}
    assert (stack.commands, len(stack.envs)) == ((), 1)
    with_card = stack_of(repository, optional, T4)
    assert (with_card.left_out, len(with_card.units), len(with_card.envs)) == ((), 7, 2)


def test_what_hangs_on_a_left_out_service_and_cannot_be_without_is_refused(repository: Any, optional: str) -> None:
    text = optional.replace("pipelines:", OPTIONAL.replace("extra:", "next:").replace("env: extra", "env: app"))
    text = text.replace(
        "gpus: {without: skip}}\npipelines", "gpus: {without: fail}, after: {extra: started}}\npipelines"
    )
    assert "services.next.gpus: pegasus has no GPU" in refusal(repository, text)


def test_jobs_are_not_left_without_anybody_who_does_them(repository: Any, jobs: str) -> None:
    said = refusal(repository, worker(jobs, "{without: skip}"))
    assert "services.worker.gpus.without: `skip` leaves nobody to do the jobs that web takes; write `without" in said
    with_web = worker(jobs, "{without: skip}").replace("{redis: healthy}, routes", "{worker: started}, routes")
    assert {unit.service for unit in stack_of(repository, with_web).units} == {"redis"}


def test_a_stack_of_which_nothing_is_left_is_taken_off_the_host(repository: Any, small: str) -> None:
    said = refusal(repository, small.replace("routes:", "gpus: {without: skip}\n    routes:"))
    assert "`skip` leaves nothing of the stack on this host; take the stack off it (farrier_stacks)" in said


def test_the_plan_for_people_shows_the_cards_and_what_goes_without(
    repository: Any, jobs: str, optional: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    repository.stack("knee", worker(jobs, "{memory: 5G}"))
    show_plan(repository.plan("knee", farrier_gpus=cards(T4, LLM)))
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "0 0000:3b:00.0 Tesla T4 15 GiB 7.5 knee-worker@0.service 5 GiB, 10 GiB free" in shown
    assert "1 0000:3c:00.0 Tesla T4 15 GiB 7.5 the LLM's (no stack's)" in shown
    repository.stack("knee", worker(optional, "{without: cpu}"))
    show_plan(repository.plan("knee"))
    shown = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "knee worker: runs without a GPU; this host has none for stacks" in shown
    assert "extra: pegasus has no GPU for it" in shown
