from __future__ import annotations

from pathlib import Path

import pytest

from farrier.models import load_manifest
from farrier.problems import InvalidInput

from .conftest import ROOT, sha256

WEIGHTS = b"weights"
GOOD = f"""\
models:
  - id: knee
    version: "1"
    files:
      - path: weights.bin
        sha256: {sha256(WEIGHTS)}
        size: {len(WEIGHTS)}
        sources: [https://example.org/weights.bin, file:knee/weights.bin]
    origin: {{url: https://example.org, dataset: none, method: none, licence: CC0-1.0}}
"""


GATED = GOOD + "    token: hugging\n"


def problems(folder: Path, text: str) -> str:
    stacks = folder / "stacks"
    (stacks / "knee").mkdir(parents=True, exist_ok=True)
    (stacks / "knee" / "weights.bin").write_bytes(WEIGHTS)
    (stacks / "models.yml").write_text(text)
    try:
        load_manifest(stacks / "models.yml")
    except InvalidInput as error:
        return str(error)
    return ""


def test_the_repositorys_own_manifest_is_valid() -> None:
    model = load_manifest(ROOT / "stacks" / "models.yml").find("knee-phantom-classes@1")
    assert model is not None
    assert model.origin.licence == "CC0-1.0"


def test_a_good_manifest_has_no_problems(tmp_path: Path) -> None:
    assert problems(tmp_path, GOOD) == ""
    assert problems(tmp_path, GATED) == ""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("size:", "sise:", "stacks/models.yml:7: models[0].files[0].sise: unknown key 'sise': did you mean 'size'?"),
        (", licence: CC0-1.0", "", "models[0].origin.licence: the key 'licence' is missing"),
        ("file:knee/weights.bin", "file:../weights.bin", "sources[1]: write a relative path without '..'"),
        ("https://example.org/weights", "http://example.org/weights", "sources[0]: write https://…, or file:"),
        ("file:knee/weights.bin", "file:knee/gone.bin", "sources[1]: no such file: knee/gone.bin under stacks/"),
        (
            *("sources: [", "sources: [https://example.com/w, "),
            "models[0]: a token is for one server: name https sources of one server only, or no token",
        ),
        ("path: weights.bin", "path: /etc/passwd", "files[0].path: write a relative path without '..'"),
    ],
)
def test_each_problem_is_named_with_its_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert message in problems(tmp_path, GATED.replace(old, new))


def test_wrong_sha256_of_a_local_file_is_found_before_any_host_is_asked(tmp_path: Path) -> None:
    message = problems(tmp_path, GOOD.replace(sha256(WEIGHTS), "ab" * 32))
    assert message.startswith("1 problem, nothing was changed:\n  stacks/models.yml:8: models[0].files[0].sources[1]:")
    assert f"model knee@1, file weights.bin: expected sha256 {'ab' * 32} and 7 bytes" in message
    assert sha256(WEIGHTS) in message


def test_a_version_stands_there_once(tmp_path: Path) -> None:
    assert "knee@1 is there twice" in problems(tmp_path, GOOD + GOOD.removeprefix("models:\n"))
