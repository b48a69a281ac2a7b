"""`python -m app.core.mail`: sends the mails that the ledger owes. A systemd timer starts it.

SMTP cannot promise "exactly once": a server may take a mail and the line break before it says so. Such a mail is sent
again with the same Message-ID, by which a mailbox knows it. No job waits for any of this.
"""

from __future__ import annotations

import hashlib
import logging
import os
import smtplib
import ssl
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path

from app.core.ledger import Job, State
from app.core.ledger.outbox import Outbox
from app.core.privacy import quiet_logs
from app.core.service import open_service
from app.core.settings import SettingsError

log = logging.getLogger(__name__)
PASSWORD = "smtp-password"
SECURITY = ("starttls", "tls", "none")
PORTS = {"starttls": 587, "tls": 465, "none": 25}
HERE = ("localhost", "127.0.0.1", "::1")
SECONDS = 30.0  # that the server has for each answer
FIRST, LONGEST = 300.0, 4 * 3600.0  # seconds between the first two tries, and at most


class NotNow(Exception):
    """The server cannot be used just now, or not with these settings; the text says why."""


@dataclass(frozen=True, slots=True)
class MailSettings:
    """How mail leaves this host, and what its links begin with."""

    host: str
    port: int
    security: str
    user: str
    password: str
    sender: str
    public_url: str


def read_mail_settings(environment: Mapping[str, str]) -> MailSettings:
    """The settings FARRIER_SMTP_* and the credential; raises SettingsError that names all that is wrong."""
    names = ("FARRIER_SMTP_HOST", "FARRIER_SMTP_FROM", "FARRIER_PUBLIC_URL")
    problems = [f"{name} is not set" for name in names if not environment.get(name)]
    host, security = environment.get("FARRIER_SMTP_HOST", ""), environment.get("FARRIER_SMTP_SECURITY", "starttls")
    if security not in SECURITY:
        problems.append(f"FARRIER_SMTP_SECURITY is {security!r}; write one of {', '.join(SECURITY)}")
    if security == "none" and host not in HERE:
        problems.append(f"FARRIER_SMTP_SECURITY is none, which is for a server on this host only, and not for {host}")
    port = environment.get("FARRIER_SMTP_PORT", str(PORTS.get(security, 0)))
    if not port.isdecimal():
        problems.append(f"FARRIER_SMTP_PORT is {port!r}; write a number")
    user, password = environment.get("FARRIER_SMTP_USER", ""), ""
    file = Path(environment.get("CREDENTIALS_DIRECTORY", "")) / PASSWORD
    if user:
        try:
            password = file.read_text(encoding="utf-8").strip()
        except OSError as error:
            problems.append(f"FARRIER_SMTP_USER is set, and its password {file} cannot be read ({error.strerror})")
    if problems:
        raise SettingsError("; ".join(problems))
    sender, url = environment["FARRIER_SMTP_FROM"], environment["FARRIER_PUBLIC_URL"].rstrip("/")
    return MailSettings(host, int(port), security, user, password, sender, url)


def compose(job: Job, settings: MailSettings) -> EmailMessage:
    """The mail for a job that has ended. It says nothing but the link: whoever has it sees the rest."""
    mail = EmailMessage()
    done = job.state == State.DONE
    mail["Subject"] = "Your result is ready" if done else "Your job could not be completed"
    mail["From"], mail["To"] = settings.sender, job.email
    mail["Date"] = formatdate()
    mail["Message-ID"] = f"<{hashlib.sha256(job.id.encode()).hexdigest()[:32]}@{_domain(settings.sender)}>"
    mail["Auto-Submitted"] = "auto-generated"
    text = "Your result can be downloaded here, until it is deleted:" if done else "Here you find what went wrong:"
    link = f"{settings.public_url}/?job={job.id}"
    mail.set_content(f"{text}\n\n{link}\n\nWhoever has this link can open it, so pass it on with care.\n")
    return mail


def _domain(sender: str) -> str:
    return sender.rpartition("@")[2].strip("> ") or "localhost"


def patience(number: int) -> float:
    """Seconds from try `number` to the next."""
    return float(min(FIRST * 2 ** (number - 1), LONGEST))


@contextmanager
def connected(settings: MailSettings) -> Iterator[smtplib.SMTP]:
    """A session with the server, over TLS and logged in as the settings say; raises NotNow."""
    context = ssl.create_default_context()
    try:
        if settings.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(settings.host, settings.port, timeout=SECONDS, context=context)
        else:
            server = smtplib.SMTP(settings.host, settings.port, timeout=SECONDS)
        try:
            if settings.security == "starttls":
                server.starttls(context=context)
            if settings.user:
                server.login(settings.user, settings.password)
        except BaseException:
            server.close()
            raise
    except (OSError, smtplib.SMTPException) as error:
        # Not the server's own words: some repeat what they were sent.
        raise NotNow(f"{settings.host}:{settings.port} cannot be used ({type(error).__name__})") from error
    try:
        yield server
    finally:
        with suppress(OSError, smtplib.SMTPException):
            server.quit()


def send_all(outbox: Outbox, settings: MailSettings) -> tuple[int, int]:
    """Send what waits and is due; gives how many the server took and how many it refused for good. Raises NotNow."""
    waiting, taken, refused = outbox.waiting(), 0, 0
    if not waiting:
        return 0, 0
    with connected(settings) as server:
        for job in waiting:
            number = outbox.take(job.id, patience)
            if number is None:
                continue
            code = _send(server, job, settings)
            if code == 0:
                outbox.note_sent(job.id)
                taken += 1
            elif code >= 500:
                outbox.give_up(job.id)
                refused += 1
                log.warning("job %s: the mail was refused for good (%d); its address is forgotten", job.id, code)
            else:
                log.info("job %s: the mail is not taken yet (%d), try %d", job.id, code, number)
    return taken, refused


def _send(server: smtplib.SMTP, job: Job, settings: MailSettings) -> int:
    """0 where the server took the mail, else its code. Raises NotNow where it is gone."""
    try:
        server.send_message(compose(job, settings))
    except smtplib.SMTPRecipientsRefused as error:
        return next(iter(error.recipients.values()))[0]
    except smtplib.SMTPResponseException as error:
        return error.smtp_code
    except (OSError, smtplib.SMTPException) as error:
        raise NotNow(f"{settings.host}:{settings.port} broke off ({type(error).__name__})") from error
    return 0


def main() -> int:
    """Send what is due; exit code 1 where the server could not be used."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    settings = read_mail_settings(os.environ)
    service = open_service(os.environ)
    quiet_logs(unless=service.settings.pii_logging)
    try:
        taken, refused = send_all(Outbox(service.database, service.clock), settings)
    except NotNow as error:
        log.error("no mail leaves: %s; it is tried again", error)  # noqa: TRY400 - the line says it all
        return 1
    if taken or refused:
        log.info("mails: %d sent, %d refused", taken, refused)
    return 0


if __name__ == "__main__":
    sys.exit(main())
