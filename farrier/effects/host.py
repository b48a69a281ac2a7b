"""The state of a host as the probe found it, as far as a prediction needs it."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, Field

from farrier.nvidia.look import Look
from farrier.preflight import HostState
from farrier_host.release.files import FileSet


class LiveStack(BaseModel):
    """What farrier-release found of one stack: see farrier_host.release.survey."""

    release: str | None = None
    phase: str = "confirmed"
    database: dict[str, str] = {}
    units: dict[str, str] = {}
    sites: dict[str, str] = {}
    starts: dict[str, tuple[str, ...]] = {}
    changes: dict[str, str] = {}
    stopped: frozenset[str] = frozenset()
    asleep: frozenset[str] = frozenset()
    between: frozenset[str] = frozenset()
    strangers: frozenset[str] = frozenset()
    kept_down: frozenset[str] = frozenset()
    started: dict[str, int | None] = {}
    digests: dict[str, str] = {}
    credentials: dict[str, int] = {}
    placed: frozenset[str] = frozenset()
    renewed: frozenset[str] = frozenset()  # secret files that the deploy writes

    @property
    def files(self) -> FileSet:
        """What is live, for `decide`."""
        return FileSet(self.units, self.sites, self.starts, self.changes)

    def with_renewed(self, accounts: Iterable[str]) -> LiveStack:
        """The same, with the secret files that are among what is wrong with the accounts."""
        secrets = {line.removeprefix("secret ") for line in accounts if line.startswith("secret ")}
        return self.model_copy(update={"renewed": frozenset(secrets)})


class Health(BaseModel):
    """What of a live release is not as it should be."""

    complaints: tuple[str, ...] = ()


class FoundFile(BaseModel):
    """One file on the host."""

    sha256: str
    mode: str


class Time(BaseModel):
    """The time that a stack was given."""

    until: int = 0  # seconds since 1970


class HostView(HostState):
    """Preflight's state, and what is live. A bare host has nothing of it."""

    live_files: dict[str, LiveStack]
    health: dict[str, Health]
    files: dict[str, FoundFile | None]
    accounts: tuple[str, ...] = ()  # what of users, folders and secrets is missing or wrong
    fetched: frozenset[str]
    installer: bool
    gpu: Look = Look(cards=())
    boxes: dict[str, Time] = Field(default_factory=dict)
    lasts: str = ""  # the time that this deploy gives
