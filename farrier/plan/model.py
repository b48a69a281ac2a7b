"""The plan's own nouns, as they stand in `farrier plan --json`, in a release's plan.json and in every role."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """A piece of the plan: computed, never edited."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)


Change = Literal["restart", "bridge", "follow"]


class Unit(Part):
    """One unit file. `starts` are the units it gives to systemd: itself, or the instances of a template unit.

    `change` says how a running unit goes over to another text: it is restarted in its place; or a second generation
    bridges its restart; or it ends its work in hand first, and follows when that is done.
    """

    file: str
    service: str
    template: str  # a file in systemd/
    starts: tuple[str, ...]
    change: Change = "restart"
    context: dict[str, Any]


class Gate(Part):
    """What must answer 200 before an activation counts: a path asked through a unix socket."""

    unit: str
    socket: str
    path: str
    within: int  # seconds


class Bridge(Part):
    """How a web service goes over: a second generation serves at a socket of its own while the main one restarts.

    Caddy asks the symlink `live`. The second generation's units, `<unit>-next`, exist only while a release goes live.
    """

    unit: str  # without its suffix: `<stack>-<service>`
    main: str  # sockets
    next: str
    live: str
    path: str  # of the gate
    within: int  # seconds


class Credential(Part):
    """A secret file on the host.

    A random password made there at the first deploy; the ACL file that knows the hashes of two of them; or a value that
    was given by the host's variables, which no plan holds.
    """

    name: str
    kind: Literal["password", "redis-acl", "given"]
    of: str = ""  # redis-acl: the name of the password's credential
    admin: str = ""  # redis-acl: that of the user who may change users
    socket: str = ""  # redis-acl: of the server that reads it
    unit: str = ""  # redis-acl: the server's


class CommandPlan(Part):
    """A program for administrators: the launcher on the host, and what it runs in which service's place."""

    name: str
    launcher: str
    service: str
    argv: tuple[str, ...]


class EnvPlan(Part):
    """A conda environment: its prefix is named by the hash of its locks."""

    name: str
    id: str
    prefix: str
    lock: str  # file on the controller, relative to the repository where it lies inside
    pip: str | None
    disk: int  # bytes that it takes


class ModelFile(Part):
    """One file of a model, with where it may be had."""

    path: str
    sha256: str
    size: int
    sources: tuple[str, ...]


class ModelPlan(Part):
    """A model that a stack uses, with its folder in the host's model store."""

    id: str
    version: str
    path: str
    files: tuple[ModelFile, ...]
    token: str | None  # its name in `farrier_tokens`


class Tree(Part):
    """A folder on the host that is named by the hash of its content: code, or configuration."""

    name: str
    path: str
    files: dict[str, str]  # path inside -> sha256


class RoutePlan(Part):
    """A URL prefix of a hostname, and the socket that answers it."""

    host: str
    path: str
    strip: bool
    service: str
    socket: str


class VerifyPlan(Part):
    """One step of the verify run, through the front door."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    file: str | None  # in the release's fixtures/
    save: str | None
    status: int
    until: dict[str, Any]
    within: int  # seconds


class SchemaPlan(Part):
    """The schema of the stack's database in this release, and the program that brings the database to it."""

    command: tuple[str, ...]  # on the host; run as the stack's user
    code: str  # its working directory
    environment: dict[str, str]
    credentials: dict[str, str]  # name -> file on the host
    writes: str  # this release's schema
    reads: tuple[str, ...]  # schemas whose releases can share the database with this one
    floor: str  # the oldest of them


class GpuCard(Part):
    """A GPU card of the host, as `farrier_gpus` declares it. `index`: its place there."""

    index: int
    pci: str  # as sysfs writes it: 0000:3b:00.0
    model: str
    memory: int  # bytes
    capability: str  # compute capability: 7.5
    owner: str | None = None  # whose it is, when it is given to no stack
    minor: int  # of /dev/nvidia<minor>


class GpuShare(Part):
    """What one unit has of the host's cards: `memory` bytes on each, or, without, the whole of them."""

    unit: str
    cards: tuple[int, ...]  # indices
    memory: int | None


class LeftOut(Part):
    """Something of the stack file that this host does not run, and why."""

    what: str  # a service's name, or `command <name>`
    why: str


class StackPlan(Part):
    """One stack on this host. It holds no time, commit or path of the controller: equal stacks make equal plans."""

    name: str
    description: str
    user: str
    home: str  # /opt/farrier/<stack>
    state: str
    state_folders: tuple[str, ...]
    credentials_folder: str
    credentials: tuple[Credential, ...]
    envs: tuple[str, ...]  # ids
    models: tuple[str, ...]  # id@version
    models_root: str  # the store that they lie in; `farrier-release collect` knows it from here
    code: tuple[Tree, ...]
    config: dict[str, str]  # path on the host -> content
    units: tuple[Unit, ...]
    bridges: tuple[Bridge, ...]
    gates: tuple[Gate, ...]
    commands: tuple[CommandPlan, ...]
    routes: tuple[RoutePlan, ...]
    front_port: int  # of the front door's HTTPS, for the verify run
    verify: tuple[VerifyPlan, ...]
    fixtures: dict[str, str]  # name in the release -> sha256
    # pydantic's own models have something called `schema`
    database_schema: SchemaPlan | None = Field(alias="schema")
    gpus: tuple[GpuShare, ...] = ()
    on_cpu: tuple[str, ...] = ()  # services that would have GPUs, on a host that has none for them
    left_out: tuple[LeftOut, ...] = ()
    memory: int  # bytes, with a second generation of the largest web service
    disk: int  # bytes of room for its data


class Front(Part):
    """The host's front door."""

    hostnames: tuple[str, ...]
    http_port: int
    https_port: int


class HostPlan(Part):
    """The host's own lines of the plan."""

    name: str
    hostname: str


class Plan(Part):
    """Everything that the roles read."""

    host: HostPlan
    front: Front
    packages: tuple[str, ...]
    envs: tuple[EnvPlan, ...]
    models: tuple[ModelPlan, ...]
    models_root: str
    contact: str = ""  # whom to ask about the host
    gpus: tuple[GpuCard, ...] = ()  # the host's cards, those that are somebody's included
    memory: int  # bytes that the stacks need together
    stacks: tuple[StackPlan, ...]
