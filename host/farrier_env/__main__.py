"""`python -m farrier_env`: a request as JSON on stdin, the outcome as JSON on stdout, progress on stderr."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from farrier_env.install import ensure, inspect
from farrier_env.request import EnvError, Outcome, Request, parse


def main() -> None:
    """Serve one request. Exit code 0, or 1 with `error` in the answer; envs done before it are in it, too."""
    os.umask(0o022)  # services read these files as other users
    outcomes: list[Outcome] = []
    answer: dict[str, Any] = {}
    try:
        serve(parse(sys.stdin.read()), outcomes)
    except EnvError as error:
        answer["error"] = str(error)
    answer["envs"] = [outcome.as_json() for outcome in outcomes]
    print(json.dumps(answer), flush=True)
    sys.stderr.flush()
    # py-rattler's threads can crash a Python that shuts down in the ordinary way
    os._exit(1 if "error" in answer else 0)


def serve(request: Request, outcomes: list[Outcome]) -> None:
    """Do what is asked, env after env, adding to `outcomes`. Raises EnvError at the first that cannot be had."""
    for env in request.envs:
        outcome = inspect(env, request) if request.mode == "verify" else ensure(env, request, _progress)
        outcomes.append(outcome)


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
