"""Wrong input is told all at once: file, line, key, and what to write instead."""

from __future__ import annotations

from typing import Any

import pytest

FILE = "stacks/demo/stack.yml"

# (what is wrong, replaced text, replacement, the problem as people read it)
WRONG = [
    ("misspelt service key", "    env: web\n", "    enw: web\n",
     f"{FILE}:8: services.web.enw: unknown key 'enw': did you mean 'env'?"),
    ("misspelt top key", "description: A", "descripton: A",
     f"{FILE}:1: descripton: unknown key 'descripton': did you mean 'description'?"),
    ("misspelt route key", "{path: /}", "{pth: /}",
     f"{FILE}:9: services.web.routes[0].pth: unknown key 'pth': did you mean 'path'?"),
    ("unknown kind", "kind: asgi", "kind: asgy", f"{FILE}:5: services.web: unknown kind 'asgy': did you mean 'asgi'?"),
    ("no kind", "    kind: asgi\n", "", f"{FILE}:5: services.web: the key 'kind' is missing"),
    ("missing key", "    app: hello:app\n", "", f"{FILE}:5: services.web.app: the key 'app' is missing"),
    ("unknown env", "env: web", "env: wob", f"{FILE}:8: services.web.env: unknown env 'wob': did you mean 'web'?"),
    ("no such lock", "envs/web.lock", "envs/wub.lock",
     f"{FILE}:3: envs.web.conda: envs/wub.lock does not exist; make it from envs/wub.yml with `farrier lock demo/web`"),
    ("no such source folder", "path: code", "path: cod", f"{FILE}:2: sources.app.path: no such folder: cod"),
    ("unknown model", "services:", "models: [brain@1]\nservices:",
     f"{FILE}:4: models[0]: no model 'brain@1' in stacks/models.yml: none is declared"),
    ("a size that is none", "routes:", "limits: {memory: lots}\n    routes:",
     f"{FILE}:9: services.web.limits.memory: write a size like 512M or 2G (got 'lots')"),
    ("unknown service in after", "routes:", "after: {reddis: healthy}\n    routes:",
     f"{FILE}:9: services.web.after.reddis: unknown service 'reddis': did you mean 'web'?"),
]  # fmt: skip


@pytest.mark.parametrize(("replaced", "replacement", "told"), [case[1:] for case in WRONG], ids=[c[0] for c in WRONG])
def test_a_wrong_stack_file_is_told_with_line_and_remedy(
    repository: Any, small: str, replaced: str, replacement: str, told: str
) -> None:
    assert replaced in small
    repository.stack("demo", small.replace(replaced, replacement, 1))
    problems = repository.problems("demo")
    if "reddis" in told:  # the nearest name is a guess; the place and the word are not
        assert problems[0].startswith(told.split("'reddis'", maxsplit=1)[0])
    else:
        assert problems == [told]


def test_all_problems_of_all_stacks_come_at_once(repository: Any, small: str) -> None:
    repository.stack("one", small.replace("hello:app", "hello app").replace("path: /}", "path: nowhere}"))
    repository.stack("two", small.replace("kind: asgi", "kind: asgi\n    proceses: 2"))
    files = [problem.split(":")[0] for problem in repository.problems("one", "two")]
    assert files == ["stacks/one/stack.yml", "stacks/one/stack.yml", "stacks/two/stack.yml"]


def test_a_cycle_is_named_in_order(repository: Any, jobs: str) -> None:
    repository.stack("demo", jobs.replace("memory: 100M}", "memory: 100M, after: {worker: started}}"))
    (problem,) = repository.problems("demo")
    assert "services wait for each other" in problem
    assert "redis → worker → redis" in problem or "worker → redis → worker" in problem


def test_two_stacks_cannot_have_the_same_address(repository: Any, small: str) -> None:
    repository.stack("one", small)
    repository.stack("two", small)
    (problem,) = repository.problems("one", "two")
    assert problem.startswith("stacks/two/stack.yml:9: services.web.routes[0]: https://192.0.2.1/ is already routed")
    assert "'one'" in problem


def test_two_stacks_cannot_have_the_same_unit(repository: Any, small: str) -> None:
    repository.stack("a", small.replace("  web:\n", "  b-c:\n"))
    repository.stack("a-b", small.replace("  web:\n", "  c:\n").replace("path: /}", "path: /c}"))
    (problem,) = repository.problems("a", "a-b")
    assert "the unit 'a-b-c' is already one of stack 'a'" in problem


def test_a_service_cannot_take_the_unit_of_another_ones_second_generation(repository: Any, small: str) -> None:
    other = small.replace("  web:\n", "  web-next:\n").split("services:\n")[1].replace("path: /}", "path: /b}")
    repository.stack("a", small + other)
    (problem,) = repository.problems("a")
    assert "the unit 'a-web-next' is already one of the service 'web'" in problem


@pytest.mark.parametrize("name", ["envs", "gpu", "host", "tools", "cache", "caddy", "root"])
def test_a_stack_cannot_take_the_name_of_a_folder_of_ours(repository: Any, small: str, name: str) -> None:
    repository.stack(name, small)
    assert f"a stack cannot be called '{name}'" in repository.problems(name)[0]


def test_an_unknown_stack_names_the_nearest(repository: Any, small: str) -> None:
    repository.stack("knee", small)
    assert repository.problems("kne") == ["stacks/kne/stack.yml: there is no stack 'kne': did you mean 'knee'?"]


def test_a_misspelt_inventory_variable_is_told(repository: Any, small: str) -> None:
    repository.stack("knee", small)
    (problem,) = repository.problems("knee", farrier_hostnam="knee.example.org")
    assert "farrier_hostnam: unknown variable: did you mean 'farrier_hostname'?" in problem


def test_broken_yaml_names_its_line(repository: Any) -> None:
    repository.stack("knee", "description: A\nservices: {web: {kind: asgi\n")
    assert repository.problems("knee")[0].startswith("stacks/knee/stack.yml:3: not valid YAML")


def test_a_verify_step_has_one_method(repository: Any, small: str) -> None:
    repository.stack("knee", small + "verify:\n  - {get: /, post: /}\n")
    assert repository.problems("knee") == [
        "stacks/knee/stack.yml:11: verify[0]: write exactly one of get, post and delete"
    ]


def test_verify_needs_a_way_in(repository: Any, small: str) -> None:
    repository.stack("knee", small.replace("    routes: [{path: /}]\n", "verify: [{get: /}]\n"))
    (problem,) = repository.problems("knee")
    assert problem.startswith("stacks/knee/stack.yml:9: verify: these steps go through the front door")


PIPELINE = "pipelines:\n  p: {title: P, env: web, source: app, steps: [{name: first}], options: {o: OPTION}}\n"


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("{type: integer, default: 1}", "write a minimum and a maximum"),
        ("{type: choice, default: a}", "write the choices"),
        ("{type: number, default: 1, minimum: 0}", "write a minimum and a maximum"),
        ("{type: number, default: 3, minimum: 0, maximum: 2}", "the default 3 is nothing that a user could choose"),
        ("{type: choice, default: c, choices: [a, b]}", "the default 'c' is nothing that a user could choose"),
        ("{type: boolean, default: 1}", "the default 1 is nothing that a user could choose"),
    ],
)
def test_an_option_without_its_bounds_is_told(repository: Any, small: str, option: str, told: str) -> None:
    repository.stack("knee", small + PIPELINE.replace("OPTION", option))
    assert repository.problems("knee") == [f"stacks/knee/stack.yml:11: pipelines.p.options.o: {told}"]


@pytest.mark.parametrize(
    ("replaced", "replacement", "told"),
    [
        ("{name: first}", "{name: first, env: wob}", "p.steps[0].env: unknown env 'wob': did you mean 'web'?"),
        (
            *("{name: first}", "{name: first, environment: {PATH: /x}}"),
            "p.steps[0].environment.PATH: PATH is set for every step by Farrier; choose another name",
        ),
        (
            *("{name: first}", "{name: first, environment: {A: '{home}/x'}}"),
            "p.steps[0].environment.A: '{home}' is nothing that is known here; '{env}' is the prefix of the step's env",
        ),
        (
            *("{name: first}", "{name: first, error: broken}"),
            "p.steps[0].error: write a code like SEGMENTATION_FAILED (got 'broken')",
        ),
        (
            *("{o: OPTION}", "{email: OPTION}"),
            "p: the option 'email' has the name of a field of the upload form; choose another name",
        ),
        (
            *("{name: first}", "{name: first, command: [run.py, '{image}']}"),
            "p: step first: '{image}' is unknown; known are config, input, option.o, options, output, work",
        ),
    ],
)
def test_a_wrong_pipeline_is_told(repository: Any, small: str, replaced: str, replacement: str, told: str) -> None:
    text = PIPELINE.replace(replaced, replacement).replace("OPTION", "{type: boolean, default: true}")
    repository.stack("knee", small + text)
    (problem,) = repository.problems("knee")
    assert problem.startswith("stacks/knee/stack.yml:1")
    assert f"pipelines.{told}" in problem


def test_problems_of_variables_models_and_stacks_come_together(repository: Any, small: str) -> None:
    repository.stack("knee", small.replace("env: web", "env: wob"))
    (repository.root / "stacks" / "models.yml").write_text("modells: []\n")
    told = repository.problems("knee", farrier_hostnam="x")
    assert len(told) == 2  # what needs the whole plan, such as the env, is told when these are mended
    repository.stack("knee", small.replace("    env: web\n", ""))
    assert len(repository.problems("knee", farrier_hostnam="x")) == 3


def test_files_of_one_name_cannot_both_be_in_a_release(repository: Any, small: str) -> None:
    verify = "verify:\n  - {post: /, file: a/x.bin}\n  - {post: /, file: b/x.bin}\n"
    folder = repository.stack("knee", small + verify)
    for part in ("a", "b"):
        (folder / part).mkdir()
        (folder / part / "x.bin").touch()
    (problem,) = repository.problems("knee")
    assert "b/x.bin and a/x.bin would have the same name" in problem


BOUNDS = [
    ("cpu", "routes:", "limits: {cpu: .inf}\n    routes:", "limits.cpu"),
    ("memory", "routes:", "limits: {memory: 99999999999999999999T}\n    routes:", "limits.memory"),
    ("no memory", "routes:", "limits: {memory: 0}\n    routes:", "limits.memory"),
    ("processes", "routes:", "processes: true\n    routes:", "processes"),
    ("stop_timeout", "routes:", "stop_timeout: 9999999d\n    routes:", "stop_timeout"),
    ("path", "{path: /}", "{path: /../x}", "write a path like / or /demo/api (got '/../x')"),
    ("no slash", "{path: /}", "{path: x}", "write a path like / or /demo/api (got 'x')"),
    ("host", "{path: /}", '{path: /, host: "a b"}', "write a hostname like"),
    ("a source outside", "path: code", "path: /etc", "/etc lies outside this repository"),
    ("two lines", "A test", '"A\\ntest"', "write one line"),
    (
        "a variable of ours",
        "routes:",
        "environment: {FARRIER_STATE: /tmp}\n    routes:",
        "FARRIER_STATE is Farrier's own",
    ),
    ("a value of two lines", "routes:", 'environment: {A: "x\\ny"}\n    routes:', "write one line"),
]


@pytest.mark.parametrize(("replaced", "replacement", "told"), [case[1:] for case in BOUNDS], ids=[c[0] for c in BOUNDS])
def test_a_value_that_could_only_fail_later_is_told_now(
    repository: Any, small: str, replaced: str, replacement: str, told: str
) -> None:
    repository.stack("knee", small.replace(replaced, replacement, 1))
    (problem,) = repository.problems("knee")
    assert told in problem


@pytest.mark.parametrize("content", [b"description: \xe9\n", b"description: a\0b\n"], ids=["latin-1", "NUL"])
def test_a_file_that_is_no_text_is_told(repository: Any, content: bytes) -> None:
    (repository.stack("knee") / "stack.yml").write_bytes(content)
    assert repository.problems("knee")[0].startswith("stacks/knee/stack.yml")
