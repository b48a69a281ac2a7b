"""The settings of a service process, read once from the environment that its unit gives it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.core.bell import read_bells
from app.core.ledger import Place, place_of

REQUIRED = (
    "FARRIER_STACK",
    "FARRIER_SERVICE",
    "FARRIER_STATE",
    "FARRIER_REDIS_SOCKET",
    "FARRIER_PIPELINES",
    "FARRIER_QUEUES",
    "CREDENTIALS_DIRECTORY",
)
MIB = 1024 * 1024
YES = ("true", "1", "yes", "on")
NO = ("false", "0", "no", "off", "")


class SettingsError(ValueError):
    """The environment lacks something or holds a wrong value; the message names all of it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a web or worker process is told from outside. Sizes are bytes, times seconds."""

    stack: str
    service: str
    instance: str
    state: Path
    ledger: Place
    redis_socket: Path
    pipelines: Path
    queues: tuple[str, ...]
    redis_password: str
    verify_token: str
    metrics_token: str | None
    release: str
    boot_id: str | None
    upload_limit: int
    disk_reserve: int
    lease: int
    max_attempts: int
    rate_limit: int  # jobs an hour and address; 0: no limit
    followers: int  # that one web process has at most
    socket: Path | None  # that a web process listens on
    live_socket: Path | None  # the link that the front door asks
    result_hours: int  # that a job's files are kept after its end
    cleanup_timer: str  # the unit that deletes what is due; empty: none
    cleanup_patience: int  # seconds without a clean-up after which the site is not ready
    mail_timer: str  # the unit that sends mail; empty: none, and nobody's address is kept
    pii_logging: bool  # whether logs may name users and their files
    bells: Mapping[str, tuple[Path, ...]]  # of each queue's workers that may sleep
    idle: int  # seconds without work after which this worker sleeps; 0: never
    gpu_cards: tuple[int, ...]  # that this process was given, by their number on the host
    gpu_memory: int | None  # that each job needs on each of them; None: all of it
    gpu_run: Path  # where the state of the host's cards and their locks are
    stack_gpus: tuple[int, ...]  # that the stack's services on this host were given

    @property
    def unit(self) -> str:
        """The unit of this process, where it is one of several of its kind."""
        return f"{self.stack}-{self.service}@{self.instance}.service"

    @property
    def worker_name(self) -> str:
        """The name under which this process keeps its heartbeat and claims jobs, e.g. `worker@0`."""
        # Several hosts can share a ledger on a server, and each has a worker@0.
        host = "" if isinstance(self.ledger, Path) else f".{platform.node()}"
        return f"{self.service}@{self.instance}{host}"


def _number(environment: Mapping[str, str], name: str, default: int, problems: list[str], least: int = 1) -> int:
    text = environment.get(name, str(default))
    if text.isascii() and text.isdigit() and int(text) >= least:
        return int(text)
    problems.append(f"{name} is {text!r}; write a whole number of at least {least}")
    return default


def _numbers(environment: Mapping[str, str], name: str, problems: list[str]) -> tuple[int, ...]:
    words = [word.strip() for word in environment.get(name, "").split(",") if word.strip()]
    if all(word.isascii() and word.isdigit() for word in words):
        return tuple(map(int, words))
    problems.append(f"{name} is {environment[name]!r}; write numbers of cards: 0,1")
    return ()


def _path(environment: Mapping[str, str], name: str) -> Path | None:
    text = environment.get(name)
    return Path(text) if text else None


def _switch(environment: Mapping[str, str], name: str, problems: list[str]) -> bool:
    text = environment.get(name, "false").lower()
    if text not in YES + NO:
        problems.append(f"{name} is {text!r}; write true or false")
    return text in YES


def _credential(folder: str, name: str, problems: list[str]) -> str:
    path = Path(folder) / name
    try:
        value = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        problems.append(f"credential {path} cannot be read ({error.strerror}); add LoadCredential={name}:… to the unit")
        return ""
    if not value:
        problems.append(f"credential {path} is empty")
    return value


def _ledger(environment: Mapping[str, str], problems: list[str]) -> Place:
    try:
        return place_of(environment)
    except (OSError, ValueError) as error:
        problems.append(str(error))
        return Path()


def _bells(environment: Mapping[str, str], problems: list[str]) -> Mapping[str, tuple[Path, ...]]:
    try:
        return read_bells(environment.get("FARRIER_BELLS", ""))
    except ValueError as error:
        problems.append(f"FARRIER_BELLS: {error}")
        return {}


def _optional(folder: str, name: str, problems: list[str]) -> str | None:
    """A secret of the stack file that the host may go without."""
    return _credential(folder, name, problems) if (Path(folder) / name).exists() else None


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings from an environment; raises SettingsError that lists every problem at once."""
    problems = [f"{name} is not set" for name in REQUIRED if not environment.get(name)]
    if problems:
        raise SettingsError("; ".join(problems))
    queues = tuple(name.strip() for name in environment["FARRIER_QUEUES"].split(",") if name.strip())
    if not queues:
        problems.append("FARRIER_QUEUES names no queue")
    credentials = environment["CREDENTIALS_DIRECTORY"]
    has_share = bool(environment.get("FARRIER_GPU_MEMORY"))
    settings = Settings(
        stack=environment["FARRIER_STACK"],
        service=environment["FARRIER_SERVICE"],
        instance=environment.get("FARRIER_INSTANCE", "0"),
        state=Path(environment["FARRIER_STATE"]),
        ledger=_ledger(environment, problems),
        redis_socket=Path(environment["FARRIER_REDIS_SOCKET"]),
        pipelines=Path(environment["FARRIER_PIPELINES"]),
        queues=queues,
        redis_password=_credential(credentials, "redis-password", problems),
        verify_token=_credential(credentials, "verify-token", problems),
        metrics_token=_optional(credentials, "metrics-token", problems),
        release=environment.get("FARRIER_RELEASE", ""),
        boot_id=environment.get("FARRIER_BOOT_ID") or None,
        upload_limit=_number(environment, "FARRIER_UPLOAD_LIMIT", 600 * MIB, problems),
        disk_reserve=_number(environment, "FARRIER_DISK_RESERVE", 512 * MIB, problems),
        lease=_number(environment, "FARRIER_LEASE", 30, problems),
        max_attempts=_number(environment, "FARRIER_MAX_ATTEMPTS", 3, problems),
        rate_limit=_number(environment, "FARRIER_RATE_LIMIT", 0, problems, least=0),
        followers=_number(environment, "FARRIER_FOLLOWERS", 500, problems),
        socket=_path(environment, "FARRIER_SOCKET"),
        live_socket=_path(environment, "FARRIER_LIVE_SOCKET"),
        result_hours=_number(environment, "FARRIER_RESULT_HOURS", 24, problems),
        cleanup_timer=environment.get("FARRIER_CLEANUP_TIMER", ""),
        cleanup_patience=_number(environment, "FARRIER_CLEANUP_PATIENCE", 3600, problems),
        mail_timer=environment.get("FARRIER_MAIL_TIMER", ""),
        pii_logging=_switch(environment, "PII_LOGGING_ENABLED", problems),
        bells=_bells(environment, problems),
        idle=_number(environment, "FARRIER_IDLE", 0, problems, least=0),
        gpu_cards=_numbers(environment, "FARRIER_GPU_CARDS", problems),
        gpu_memory=_number(environment, "FARRIER_GPU_MEMORY", 0, problems) if has_share else None,
        gpu_run=Path(environment.get("FARRIER_GPU_RUN", "/run/farrier/gpu")),
        stack_gpus=_numbers(environment, "FARRIER_STACK_GPUS", problems),
    )
    if problems:
        raise SettingsError("; ".join(problems))
    return settings
