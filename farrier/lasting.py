"""The time that a deploy gives its stacks: `-e farrier_for=2h`, `farrier deploy --for 2h`, or a host variable."""

from __future__ import annotations

from farrier.problems import InvalidInput, Problem
from farrier_host.timebox.box import seconds_of

VARIABLE = "farrier_for"


def lasting(value: object, *, host: str, is_production: bool = False) -> str:
    """The time as farrier-release takes it; empty for ever. Raises InvalidInput for one that is none.

    `is_production`: the host serves users, and nothing of it may end by the clock.
    """
    if value is None or value == "":  # `-e farrier_for=` takes a host variable back
        return ""
    try:
        if not isinstance(value, str):
            raise ValueError(f"'{value}' has no unit: write 30m, 2h or 1d12h")  # noqa: TRY004 - told like the others
        seconds_of(value)
    except ValueError as error:
        raise InvalidInput([Problem(f"variables of {host}", 0, VARIABLE, str(error))]) from None
    if is_production:
        message = "a production host's stacks do not end by the clock: leave it out, or deploy to a test host"
        raise InvalidInput([Problem(f"variables of {host}", 0, VARIABLE, message)])
    return value.strip()
