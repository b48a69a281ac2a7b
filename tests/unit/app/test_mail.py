"""Mails through a real SMTP server: TLS, login, what it refuses, and being away."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword

from app.core.ledger import Clock, Database, Jobs, NewJob, boot_clock, open_database
from app.core.ledger.outbox import Outbox
from app.core.mail import LONGEST, MailSettings, NotNow, patience, read_mail_settings, send_all
from app.core.settings import SettingsError
from app.core.storage import new_job_id
from tests.unit.app.conftest import FakeTime
from tests.unit.app.places import REPOSITORY
from tests.unit.app.running_site import knee_pipeline, site_environment

ADDRESS = "eleonore.quidditch@example.org"
LOGIN = ("knee", "the password")


@dataclass
class Mailbox:
    """What the server took; `answers` are given instead, one after the other."""

    mails: list[Message] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        if self.answers:
            return self.answers.pop(0)
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content))
        return "250 taken"


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files]
    subprocess.run(made, check=True, capture_output=True)
    return folder / "cert.pem"


@pytest.fixture
def server(mailbox: Mailbox, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MailSettings]:
    """A server that speaks STARTTLS and nothing without it, and knows one login."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))

    def knows(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        return AuthResult(handled=False, success=(data.login, data.password) == tuple(word.encode() for word in LOGIN))

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(
        mailbox,
        hostname="127.0.0.1",
        port=port,
        tls_context=context,
        require_starttls=True,
        authenticator=knows,
        auth_required=True,
    )
    controller.start()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    yield MailSettings("localhost", port, "starttls", *LOGIN, "Knee <knee@example.org>", "https://knee.example.org")
    controller.stop()


@pytest.fixture
def outbox(database: Database, clock: Clock) -> Outbox:
    return Outbox(database, clock)


@pytest.fixture
def ended(jobs: Jobs) -> Callable[..., str]:
    def end(email: str | None = ADDRESS, *, failed: bool = False, verify: bool = False) -> str:
        job_id = new_job_id()
        jobs.submit(NewJob(job_id, "knee", "knee", "scan.nii", {}, email=email, verify=verify))
        job = jobs.claim_next(["knee"], "me", 30)
        assert job is not None
        assert jobs.fail(job, code="X", message="") if failed else jobs.publish(job, size=1, summary={})
        return job_id

    return end


def email_of(jobs: Jobs, job_id: str) -> tuple[str | None, bool]:
    job = jobs.find(job_id)
    assert job is not None
    return job.email, job.mailed_wall is not None


def test_a_mail_holds_the_link_and_is_sent_once(
    server: MailSettings, outbox: Outbox, jobs: Jobs, mailbox: Mailbox, ended: Callable[..., str]
) -> None:
    job_id, failed = ended(), ended(failed=True)
    ended(email=None)
    ended(verify=True)
    assert send_all(outbox, server) == (2, 0)
    assert send_all(outbox, server) == (0, 0)
    first, second = mailbox.mails
    assert (first["To"], first["From"]) == (ADDRESS, "Knee <knee@example.org>")
    assert f"\nhttps://knee.example.org/?job={job_id}\r\n" in str(first.get_payload())
    assert f"\nhttps://knee.example.org/?job={failed}\r\n" in str(second.get_payload())
    assert email_of(jobs, job_id) == (None, True)


def test_a_mail_that_is_not_taken_yet_is_tried_again_later_and_later_as_the_same_mail(
    server: MailSettings, outbox: Outbox, jobs: Jobs, mailbox: Mailbox, time: FakeTime, ended: Callable[..., str]
) -> None:
    mailbox.answers = ["451 come back later"] * 2
    job_id = ended()
    for wait in (0, 301, 601):
        assert send_all(outbox, server) == (0, 0)  # not its turn, or not taken
        time.seconds += wait
    assert email_of(jobs, job_id) == (ADDRESS, False)
    assert send_all(outbox, server) == (1, 0)
    assert email_of(jobs, job_id) == (None, True)
    assert [patience(number) for number in (1, 2, 3, 20)] == [300, 600, 1200, LONGEST]


def test_a_mail_that_is_refused_for_good_stops_no_other(
    server: MailSettings, outbox: Outbox, jobs: Jobs, mailbox: Mailbox, ended: Callable[..., str]
) -> None:
    mailbox.answers = ["554 no such user"]
    refused, fine = ended(), ended()
    assert send_all(outbox, server) == (1, 1)
    assert (email_of(jobs, refused), email_of(jobs, fine)) == ((None, False), (None, True))


def test_a_sender_that_is_killed_before_it_could_note_it_sends_the_same_mail_again_after_a_while(
    server: MailSettings, outbox: Outbox, mailbox: Mailbox, time: FakeTime, ended: Callable[..., str]
) -> None:
    ended()

    class Killed(BaseException):
        pass

    class Dying(Outbox):
        def note_sent(self, job_id: str) -> None:
            raise Killed(job_id)

    with pytest.raises(Killed):
        send_all(Dying(outbox._database, outbox._clock), server)
    assert send_all(outbox, server) == (0, 0)
    time.seconds += 301
    assert send_all(outbox, server) == (1, 0)
    assert len({mail["Message-ID"] for mail in mailbox.mails}) == 1


@pytest.mark.parametrize(
    ("change", "trust"),
    [({"password": "wrong"}, True), ({"port": 1}, True), ({}, False)],
    ids=["wrong password", "nobody there", "unknown certificate"],
)
def test_a_server_that_cannot_be_used_keeps_the_mail_waiting(
    server: MailSettings,
    outbox: Outbox,
    jobs: Jobs,
    mailbox: Mailbox,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    trust: bool,
    ended: Callable[..., str],
) -> None:
    job_id = ended()
    if not trust:
        monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
    with pytest.raises(NotNow, match="cannot be used"):
        send_all(outbox, replace(server, **change))
    assert mailbox.mails == []
    assert email_of(jobs, job_id) == (ADDRESS, False)


GOOD = {
    "FARRIER_SMTP_HOST": "mail.example.org",
    "FARRIER_SMTP_FROM": "knee@example.org",
    "FARRIER_PUBLIC_URL": "https://k/",
}


def test_settings_have_sensible_defaults() -> None:
    settings = read_mail_settings(GOOD)
    assert (settings.port, settings.security, settings.public_url) == (587, "starttls", "https://k")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"FARRIER_SMTP_HOST": ""}, "FARRIER_SMTP_HOST is not set"),
        ({"FARRIER_SMTP_SECURITY": "ssl"}, "write one of starttls, tls, none"),
        ({"FARRIER_SMTP_SECURITY": "none"}, "for a server on this host only"),
        ({"FARRIER_SMTP_PORT": "smtp"}, "write a number"),
        ({"FARRIER_SMTP_USER": "u", "CREDENTIALS_DIRECTORY": "/none"}, "/none/smtp-password cannot be read"),
    ],
)
def test_wrong_settings_are_named(change: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read_mail_settings(GOOD | change)


def test_the_program_says_what_it_did_and_names_nobody(
    server: MailSettings, tmp_path: Path, mailbox: Mailbox, certificate: Path
) -> None:
    environment = site_environment(tmp_path, knee_pipeline()) | {
        "FARRIER_SMTP_HOST": server.host,
        "FARRIER_SMTP_PORT": str(server.port),
        "FARRIER_SMTP_USER": server.user,
        "FARRIER_SMTP_FROM": "knee@example.org",
        "FARRIER_PUBLIC_URL": server.public_url,
        "SSL_CERT_FILE": str(certificate),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY),
    }
    (tmp_path / "credentials" / "smtp-password").write_text(server.password + "\n")
    jobs = Jobs(open_database(tmp_path / "state" / "ledger"), boot_clock())
    jobs.submit(NewJob(new_job_id(), "knee", "knee", "scan.nii", {}, email=ADDRESS))
    job = jobs.claim_next(["knee"], "me", 30)
    assert job is not None
    jobs.publish(job, size=1, summary={})
    command = [sys.executable, "-m", "app.core.mail"]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert (done.returncode, "1 sent" in done.stderr, "quidditch" in done.stderr) == (0, True, False), done.stderr
    assert len(mailbox.mails) == 1
