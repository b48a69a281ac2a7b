from __future__ import annotations

import json
import os
import platform
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from app.core.broker import broker_url, sender
from app.core.health import Readiness, ask
from app.core.notify import notify, watchdog_seconds
from app.core.pipelines import OptionError, Pipeline, read_pipelines
from app.core.settings import SettingsError, read_settings
from tests.unit.app.running_site import knee_pipeline, site_environment


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return site_environment(tmp_path, knee_pipeline())


def test_settings_have_defaults_and_credentials(environment: dict[str, str]) -> None:
    del environment["FARRIER_LEASE"]
    settings = read_settings(environment)
    assert (settings.lease, settings.max_attempts, settings.upload_limit) == (30, 3, 600 * 1024 * 1024)
    assert settings.worker_name == "web@0"
    assert settings.queues == ("knee",)


def test_ledger_is_a_file_unless_a_server_is_named(environment: dict[str, str]) -> None:
    assert read_settings(environment).ledger == Path(environment["FARRIER_STATE"]) / "ledger"
    environment["FARRIER_LEDGER_URL"] = "postgresql://me@db.test:5433/knee"
    settings = read_settings(environment)
    assert str(settings.ledger) == "postgresql+psycopg://me@db.test:5433/knee"
    assert settings.worker_name == f"web@0.{platform.node()}", "another host has a web@0 too"
    Path(environment["CREDENTIALS_DIRECTORY"], "ledger-password").write_text("p@ss\n")
    ledger = read_settings(environment).ledger
    assert isinstance(ledger, URL)
    assert ledger.password == "p@ss"


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("mysql://db/knee", "write postgresql://USER@HOST/DATABASE"),
        ("postgresql://db", "write postgresql://USER@HOST/DATABASE"),
        ("knee", "it is no address"),
        ("postgresql://me:secret@db/knee", "put it in ledger-password"),
    ],
)
def test_wrong_address_of_the_ledger_is_told_but_not_repeated(
    environment: dict[str, str], address: str, text: str
) -> None:
    with pytest.raises(SettingsError, match=text) as raised:
        read_settings(environment | {"FARRIER_LEDGER_URL": address})
    assert "secret" not in str(raised.value)


def test_password_survives_being_part_of_an_address(environment: dict[str, str]) -> None:
    assert "app:p%40ss%2Fword%3A%25@/" in broker_url(read_settings(environment))


def test_every_problem_is_told_at_once(environment: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=r"FARRIER_STACK is not set; .*FARRIER_QUEUES is not set"):
        read_settings({})
    Path(environment["CREDENTIALS_DIRECTORY"], "verify-token").unlink()
    wrong = environment | {"FARRIER_LEASE": "soon", "FARRIER_QUEUES": " , "}
    with pytest.raises(SettingsError, match=r"names no queue.*verify-token cannot be read.*FARRIER_LEASE is 'soon'"):
        read_settings(wrong)


def test_sending_without_redis_fails_soon(environment: dict[str, str]) -> None:
    send = sender(read_settings(environment))
    began = time.monotonic()
    assert [send("job", "knee") for _ in range(2)] == [False, False]
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"steps": [{"name": "../x", "timeout": 1}]}, r"knee\.steps\.0\.name"),
        ({"colour": 1}, r"knee\.colour"),
        ({"options": {"a": {"type": "date", "default": 1}}}, r"knee\.options\.a"),
    ],
)
def test_wrong_pipelines_are_named(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    path = tmp_path / "pipelines.json"
    path.write_text(json.dumps({"knee": knee_pipeline() | change}))
    with pytest.raises(ValueError, match=rf"pipelines\.json: {text}"):
        read_pipelines(path)


OPTIONS = {
    "size": {"type": "integer", "default": 3, "minimum": 1, "maximum": 5},
    "weight": {"type": "number", "default": 0.4, "minimum": 0, "maximum": 2},
    "fast": {"type": "boolean", "default": False},
    "mode": {"type": "choice", "default": "a", "choices": ["a", "b"]},
}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"size": 3, "weight": 0.4, "fast": False, "mode": "a"}),
        ({"size": " 5 ", "fast": "True"}, {"size": 5, "weight": 0.4, "fast": True, "mode": "a"}),
        ({"size": "2.5"}, "size: '2.5' is not allowed; give a number from 1 to 5"),
        ({"weight": "inf"}, "weight: 'inf' is not allowed; give a number from 0 to 2"),
        ({"fast": "maybe"}, "fast: 'maybe' is not allowed; give true or false"),
        ({"mode": "c"}, "mode: 'c' is not allowed; choose one of: a, b"),
    ],
)
def test_options_are_parsed(given: dict[str, str], expected: dict[str, Any] | str) -> None:
    pipeline = Pipeline.model_validate(knee_pipeline() | {"options": OPTIONS})
    if isinstance(expected, str):
        with pytest.raises(OptionError) as raised:
            pipeline.parse_options(given)
        assert str(raised.value) == expected
    else:
        assert pipeline.parse_options(given) == expected


def test_check_that_raises_is_a_finding() -> None:
    def broken() -> str:
        raise ConnectionRefusedError("no\nentry")

    readiness = ask({"a": lambda: "ok", "b": broken})
    assert readiness == Readiness({"a": "ok", "b": "ConnectionRefusedError: no"})
    assert readiness.missing == ["b"]


@pytest.mark.parametrize("abstract", [False, True])
def test_notify(tmp_path: Path, *, abstract: bool) -> None:
    path = f"\0farrier-test-{os.getpid()}" if abstract else str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        assert notify("READY=1", {"NOTIFY_SOCKET": path.replace("\0", "@")})
        assert systemd.recv(100) == b"READY=1"
    assert not notify("READY=1", {})
    assert not notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "nobody")})


def test_watchdog_is_for_the_process_that_it_names() -> None:
    assert watchdog_seconds({"WATCHDOG_USEC": "16000000"}) == 16
    assert watchdog_seconds({"WATCHDOG_USEC": "16000000", "WATCHDOG_PID": "1"}) is None
    assert watchdog_seconds({}) is None
