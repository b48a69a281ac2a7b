"""python -m tests.load ADDRESS CA [--posts 100 …]: load until SIGTERM; then a JSON line for each request."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import ssl
import sys
from dataclasses import asdict, fields

from tests.load.http1 import Client
from tests.load.traffic import Rates, Traffic

_BEGUN = 50  # requests that were answered when the load is taken for steady


def main() -> None:
    parser = argparse.ArgumentParser(description="Steady load on a front door that serves the stack of tests/load.")
    parser.add_argument("address")
    parser.add_argument("ca", help="file with the certificate that the front door's goes back to")
    for field in fields(Rates):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, default=field.default)
    options = vars(parser.parse_args())
    address, ca = options.pop("address"), options.pop("ca")
    options["h2"] = bool(options["h2"])
    whole = {name: int(options[name]) for name in ("uploads", "upload_mb")}
    traffic = asyncio.run(_run(address, ca, Rates(**options | whole)))
    for request in traffic.requests:
        sys.stdout.write(json.dumps(asdict(request)) + "\n")


async def _run(address: str, ca: str, rates: Rates) -> Traffic:
    traffic = Traffic(Client(address, ssl.create_default_context(cafile=ca)), ca, rates)
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, traffic.ending.set)
    begun = asyncio.create_task(_say_begun(traffic))
    await traffic.run()
    begun.cancel()
    return traffic


async def _say_begun(traffic: Traffic) -> None:
    while len(traffic.requests) < _BEGUN:
        await asyncio.sleep(0.05)
    print("begun", flush=True)


if __name__ == "__main__":
    main()
