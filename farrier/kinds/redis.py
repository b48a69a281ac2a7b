"""Kind `redis`: the stack's own Redis, on a unix socket, with an append-only file and an ACL."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from farrier import paths
from farrier.kinds.base import Kind, Offer, Resolved, Service, Surroundings, common
from farrier.plan.model import Credential, Unit
from farrier.values import Size

# Redis forks to rewrite its append-only file: in the worst case every page is copied meanwhile.
_FORK_FACTOR = 2
_OWN_MEMORY = 64 * 2**20


class Redis(Service):
    """A Redis server for this stack alone."""

    kind: Literal["redis"]
    memory: Size = Field(256 * 2**20, ge=2**20, description="What it may hold (`maxmemory`, nothing is evicted).")


def _resolve(name: str, service: Redis, around: Surroundings) -> Resolved:
    bound = service.limits.memory or service.memory * _FORK_FACTOR + _OWN_MEMORY
    password = Credential(name=f"{name}-password", kind="password")
    admin = Credential(name=f"{name}-admin-password", kind="password")
    socket, file = paths.redis_socket(around.stack, name), around.unit(name)
    acl = Credential(
        name=f"{name}-users.acl", kind="redis-acl", of=password.name, admin=admin.name, socket=socket, unit=file
    )
    context = common(name, service, around) | {
        "memory": bound,
        "maxmemory": service.memory,
        "socket": socket,
        "acl": f"{around.credentials}/{acl.name}",
        "acl_name": acl.name,
        "runtime": around.runtime,
    }
    unit = Unit(file=file, service=name, template="redis.service.j2", starts=(file,), context=context)
    return Resolved(units=(unit,), credentials=(password, admin, acl), memory=service.memory)


def _offer(stack: str, service: str) -> Offer:
    variable = f"FARRIER_{service.upper().replace('-', '_')}_SOCKET"
    password = Credential(name=f"{service}-password", kind="password")
    return Offer({variable: paths.redis_socket(stack, service)}, (password,))


KIND = Kind(name="redis", model=Redis, anchor=".service", resolve=_resolve, offer=_offer, packages=("redis-server",))
