"""Connections to a ledger on a PostgreSQL server, which several hosts can share, and its clock, on which they agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import URL, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError

from app.core.ledger.clock import Clock

CONNECT_SECONDS = 5
LOCK_SECONDS = 5.0  # that one waits for another's lock, as with a file
IDLE_SECONDS = 30  # after which the server ends a transaction whose process does nothing: it may be stopped
SERVER = "server"  # stands where a ledger in a file has the boot


def server_url(address: str, password: str | None) -> URL:
    """The address of a ledger's database with the password; raises ValueError that says what is wrong with it."""
    try:
        url = make_url(address)
    except ArgumentError:
        raise ValueError("it is no address; write postgresql://USER@HOST/DATABASE") from None
    if url.drivername not in ("postgresql", "postgres") or not url.database:
        raise ValueError("write postgresql://USER@HOST/DATABASE, or postgresql://USER@/DATABASE?host=/run/postgresql")
    if url.password is not None:
        raise ValueError("it holds a password, which every process here could read; put it in ledger-password")
    return url.set(drivername="postgresql+psycopg", password=password)


def without_password(url: URL) -> str:
    """The address as the setting and PostgreSQL's own programs know it."""
    parts = (url.username, None, url.host, url.port, url.database, url.query)
    return URL.create("postgresql", *parts).render_as_string()


def server_engine(url: URL, *, lock: float = LOCK_SECONDS, **options: Any) -> Engine:
    """Connections to the server; each is tried before it is used, so that a restarted server is found again."""
    given = url.query.get("options", "")
    own = f"-c lock_timeout={int(lock * 1000)} -c idle_in_transaction_session_timeout={IDLE_SECONDS * 1000}"
    arguments = {"connect_timeout": CONNECT_SECONDS, "application_name": "farrier", "options": f"{given} {own}"}
    return create_engine(url, pool_pre_ping=True, connect_args=arguments, hide_parameters=True, **options)


def server_clock(url: URL) -> Clock:
    """The server's clock. It has connections of its own: who asks for the time may hold a transaction's."""
    engine = server_engine(url, pool_size=1, max_overflow=4, isolation_level="AUTOCOMMIT")
    now = _asks(engine)
    return Clock(SERVER, now, now)


def _asks(engine: Engine) -> Callable[[], float]:
    query = text("SELECT extract(epoch FROM clock_timestamp())::double precision")

    def now() -> float:
        with engine.connect() as connection:
            return float(connection.execute(query).scalar_one())

    return now
