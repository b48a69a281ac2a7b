"""What people, or programs, are told of what farrier-release said on each host."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import typer

from farrier.deploy.outcome import Result, of_answer, worst
from farrier.deploy.runner import Ended
from farrier.deploy.session import Answer
from farrier.deploy.show import follower, last_lines


def tell(found: Mapping[str, Answer], ended: Ended, stack: str, *, as_json: bool) -> int:
    """Say it, host by host; the exit code of the worst. Where no host answered, Ansible's last lines."""
    results = {host: of_answer(answer.answer or {}, answer.code) for host, answer in found.items()}
    result = worst(results.values())
    if as_json:
        hosts = {host: answer.answer or {"error": answer.error} for host, answer in found.items()}
        typer.echo(json.dumps({"result": result.word, "exit_code": result.code, "hosts": hosts}, indent=2))
    for host, answer in found.items() if not as_json else ():
        for line in lines(host, stack, answer, results[host]):
            typer.echo(line, file=sys.stdout if results[host].code in (0, 3) else sys.stderr)
    if not found:
        typer.echo("\n".join(last_lines(ended.output)), err=True)
    return result.code


def lines(host: str, stack: str, answer: Answer, result: Result) -> list[str]:
    """What people read of one host."""
    told: dict[str, Any] = answer.answer or {}
    if answer.answer is None:
        return [f"{host} {stack}: {answer.error or 'the host gave no answer'}"]
    head = f"{host} {stack}: release {told.get('release')}, {result.word}, {told.get('seconds', 0):.1f} s"
    said = [f"  {line}" for line in [*told.get("said", ()), *str(told.get("error") or "").splitlines()]]
    restarted = [f"  restarted  {unit}" for unit in told.get("restarted", ())]
    return [head, *said, *restarted, *(f"  later      {follower(each)}" for each in told.get("followers", ()))]
