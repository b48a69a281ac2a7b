"""How many jobs an address may send in an hour. Addresses themselves are kept nowhere: only a keyed hash of them."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
from collections.abc import Sequence

from fastapi import HTTPException, Request

from app.core.ledger import Database
from app.core.ledger.totals import submitted_since

WINDOW = 3600.0  # seconds
NOBODY = "local"  # who speaks to the socket without a proxy


def address_of(request: Request) -> str:
    """The address that the front door saw: it replaces what a client claims in X-Forwarded-For."""
    claimed = request.headers.get("x-forwarded-for", "").split(",")[0].strip()
    return claimed or (request.client.host if request.client else NOBODY)


def client_hash(address: str, key: str) -> str:
    """What stands for an address in the ledger; all addresses of one IPv6 network count as one."""
    try:
        parsed = ipaddress.ip_address(address)
        if parsed.version == 6:
            address = str(ipaddress.ip_network((parsed, 64), strict=False))
    except ValueError:
        pass
    return hmac.new(key.encode(), f"client:{address}".encode(), hashlib.sha256).hexdigest()[:32]


def retry_after(submitted: Sequence[float], limit: int, now: float) -> int | None:
    """Seconds until one more job may come, given the wall times of those in the last hour; None: it may come now."""
    if limit == 0 or len(submitted) < limit:
        return None
    return max(1, math.ceil(sorted(submitted)[-limit] + WINDOW - now))


def check_rate(database: Database, client: str, limit: int, now: float) -> None:
    """Raises HTTPException 429 where a client has sent `limit` jobs within the last hour; 0 is no limit."""
    if limit == 0:
        return
    seconds = retry_after(submitted_since(database, client, now - WINDOW), limit, now)
    if seconds is not None:
        text = f"This address has sent {limit} jobs within an hour, which is the limit. Please try again later."
        raise HTTPException(429, text, {"Retry-After": str(seconds)})
