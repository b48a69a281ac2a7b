"""The verify run's pure parts."""

from __future__ import annotations

import socket
from email.parser import BytesParser
from email.policy import default
from pathlib import Path

import pytest

from farrier_host.release.gate import connections, lacks_only_workers
from farrier_host.release.verify import (
    RIGHT,
    WAITING,
    WRONG,
    Answer,
    VerifyFailed,
    fill_in,
    impossible,
    judge,
    matches,
    multipart,
)


def test_a_form_holds_the_file_unchanged() -> None:
    content = b"\0\r\n--x\r\nbinary"
    body, headers = multipart("a.nii.gz", content, "boundary")
    message = BytesParser(policy=default).parsebytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body)
    (part,) = message.iter_parts()
    assert part.get_filename() == "a.nii.gz"
    assert part.get_param("name", header="content-disposition") == "file"
    assert part.get_payload(decode=True) == content


def test_a_path_takes_fields_of_saved_answers() -> None:
    assert fill_in("/status/{job.job_id}", {"job": {"job_id": "4711"}}) == "/status/4711"


@pytest.mark.parametrize("saved", [{}, {"job": {}}, {"job": "text"}])
def test_a_field_that_is_not_there_is_told(saved: dict[str, object]) -> None:
    with pytest.raises(VerifyFailed, match=r"job\.job_id"):
        fill_in("/status/{job.job_id}", saved)


@pytest.mark.parametrize(
    ("expected", "body", "matched", "hopeless"),
    [
        ({}, "text", True, False),
        ({"status": "complete"}, {"status": "complete", "more": 1}, True, False),
        ({"status": "complete"}, {"status": "queued"}, False, False),
        ({"status": "complete"}, {"status": "error"}, False, True),
        ({"status": "complete"}, "text", False, False),
    ],
)
def test_waiting_ends_when_it_matches_or_cannot(
    expected: dict[str, str], body: object, matched: bool, hopeless: bool
) -> None:
    assert matches(expected, body) is matched
    assert impossible(expected, body) is hopeless


@pytest.mark.parametrize(
    ("until", "answer", "verdict"),
    [
        ({}, Answer(200, ""), RIGHT),
        ({}, Answer(502, ""), WRONG),
        ({}, Answer(0, "refused"), WRONG),
        ({"status": "complete"}, Answer(200, {"status": "complete"}), RIGHT),
        ({"status": "complete"}, Answer(200, {"status": "queued"}), WAITING),
        ({"status": "complete"}, Answer(200, {"status": "error"}), WRONG),
        ({"status": "complete"}, Answer(502, ""), WAITING),
        ({"status": "complete"}, Answer(0, "refused"), WAITING),
        ({"status": "complete"}, Answer(404, ""), WRONG),
    ],
)
def test_a_passing_fault_fails_no_step_that_waits(until: dict[str, str], answer: Answer, verdict: str) -> None:
    assert judge({"status": 200, "until": until}, answer) == verdict


@pytest.mark.parametrize(
    ("body", "lacks"),
    [
        ('{"missing": ["worker:slow"]}', True),
        ('{"missing": ["worker:slow", "worker:fast"]}', True),
        ('{"missing": ["worker:slow", "redis"]}', False),
        ('{"missing": []}', False),
        ('{"missing": null}', False),
        ('{"status": "no"}', False),
        ("[1]", False),
        ("Service Unavailable", False),
        ("", False),
    ],
)
def test_only_an_answer_that_names_workers_and_nothing_else_is_excused(body: str, lacks: bool) -> None:
    assert lacks_only_workers(body) is lacks


def test_open_connections_to_a_socket_are_counted(tmp_path: Path) -> None:
    path = str(tmp_path / "web.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(path)
        listener.listen()
        assert connections(path, Path("/proc/net/unix").read_text()) == 0
        assert connections(path, f"Num\n0: 2 0 0 1 01 7 @a\nb\n\n0: 3 0 0 1 03 8 {path}x\n") == 0
        client.connect(path)
        with listener.accept()[0]:
            assert connections(path, Path("/proc/net/unix").read_text()) == 1
        assert connections(path, Path("/proc/net/unix").read_text()) == 0
