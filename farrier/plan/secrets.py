"""What the stack files ask for and what the host's variables give: no secret is missing, and none is for nobody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from farrier.host import PREFIX, Host
from farrier.kinds import KINDS
from farrier.kinds.base import CodeService
from farrier.load import Loaded
from farrier.models import Manifest
from farrier.problems import Problem, nearest

_VARIABLE = f"{PREFIX}secrets"
_OURS = frozenset({"verify-token"})


def check_secrets(stacks: Sequence[Loaded], host: Host) -> Iterator[Problem]:
    """Problems between the stacks' `secrets` and the host's. Names only: no message holds a value."""
    names = {loaded.name for loaded in stacks}
    where = f"inventory variables of {host.name}"
    for stack in sorted(host.secrets.keys() - names):
        key = f"{_VARIABLE}.{stack}"
        yield Problem(where, 0, key, f"no such stack on this host: {nearest(stack, sorted(names))}")
    for loaded in stacks:
        yield from _names(loaded)
        yield from _values(loaded, host, where)


def check_tokens(stacks: Sequence[Loaded], manifest: Manifest, host: Host) -> Iterator[Problem]:
    """Gated models of the stacks for which the host has no token. Names only: no message holds a value."""
    for loaded in stacks:
        for index, reference in enumerate(loaded.stack.models):
            model = manifest.find(reference)
            if model and model.token and model.token not in host.tokens:
                message = f"{reference} is only given out for the token '{model.token}', which {host.name} has not; "
                message += f"write it with `ansible-vault edit` as {PREFIX}tokens: {{{model.token}: …}}"
                yield loaded.document.problem(("models", index), message)


def _names(loaded: Loaded) -> Iterator[Problem]:
    declared = loaded.stack.secrets
    taken = _OURS | _made(loaded)
    for name in declared:
        if name in taken:
            message = f"'{name}' is the name of a secret that Farrier makes itself; choose another one"
            yield loaded.document.problem(("secrets", name), message)
    for service, each in loaded.stack.services.items():
        for index, name in enumerate(each.secrets if isinstance(each, CodeService) else ()):
            if name not in declared:
                message = f"unknown secret '{name}': {nearest(name, list(declared))}"
                yield loaded.document.problem(("services", service, "secrets", index), message)


def _made(loaded: Loaded) -> set[str]:
    """Names of the credentials that the kinds of the stack's services bring."""
    redis = [name for name, each in loaded.stack.services.items() if each.kind == "redis"]
    offers = [KINDS[each.kind].offer(loaded.name, name) for name, each in loaded.stack.services.items()]
    own = {f"{name}-{rest}" for name in redis for rest in ("password", "admin-password", "users.acl")}
    return own | {credential.name for offer in offers for credential in offer.credentials}


def _values(loaded: Loaded, host: Host, where: str) -> Iterator[Problem]:
    declared, given = loaded.stack.secrets, host.secrets.get(loaded.name, {})
    for name in sorted(given.keys() - declared.keys()):
        key = f"{_VARIABLE}.{loaded.name}.{name}"
        yield Problem(where, 0, key, f"stack '{loaded.name}' has no such secret: {nearest(name, list(declared))}")
    for name, secret in declared.items():
        if secret.required and name not in given:
            message = f"{host.name} has no value for it: {secret.description}; write it with `ansible-vault edit` as "
            message += f"{_VARIABLE}: {{{loaded.name}: {{{name}: …}}}}, see docs/how-to/secrets.md"
            yield loaded.document.problem(("secrets", name), message)
