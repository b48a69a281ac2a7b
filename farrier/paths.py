"""Where things lie on a host. Every path that a unit names is immutable or the stack's own data."""

from __future__ import annotations

ROOT = "/opt/farrier"
ENVS = f"{ROOT}/envs"
STATE = "/var/lib/farrier"
CONFIG = "/etc/farrier"
SOCKETS = "/run/farrier"
MODELS = "/srv/models"


def home(stack: str) -> str:
    """Releases, code and configuration of a stack."""
    return f"{ROOT}/{stack}"


def state(stack: str) -> str:
    """The only data of a stack that a backup needs."""
    return f"{STATE}/{stack}"


def credentials(stack: str) -> str:
    """Secret files, handed to units by LoadCredential."""
    return f"{CONFIG}/{stack}/credentials"


def launcher(stack: str, command: str) -> str:
    """What administrators call a stack's command."""
    return f"/usr/local/bin/{stack}-{command}"


def sockets(stack: str) -> str:
    """The folder of the stack's unix sockets."""
    return f"{SOCKETS}/{stack}"


def web_socket(stack: str, service: str) -> str:
    """The socket that systemd holds for a web service. Dots keep it apart from any service's name."""
    return f"{sockets(stack)}/{service}.sock"


def next_socket(stack: str, service: str) -> str:
    """The socket of the service's second generation, while a release goes live."""
    return f"{sockets(stack)}/{service}.next.sock"


def live_socket(stack: str, service: str) -> str:
    """The symlink to whichever of the two serves: what Caddy asks."""
    return f"{sockets(stack)}/{service}.live.sock"


def bell(stack: str, service: str, instance: int | str) -> str:
    """The socket by which systemd starts a sleeping worker."""
    return f"{sockets(stack)}/{service}.{instance}.bell"


def slice_of(stack: str) -> str:
    """The stack's slice; systemd reads a hyphen in its name as a step down from another slice."""
    return f"{stack.replace('-', '_')}.slice"


def redis_socket(stack: str, service: str) -> str:
    """Redis makes its socket itself, so it lies in a folder of its own (RuntimeDirectory)."""
    return f"{SOCKETS}/{stack}/{service}/redis.sock"


def code(stack: str, source: str, digest: str) -> str:
    """A source's files, named by their hash: a unit that names it restarts when the code changes, and only then."""
    return f"{ROOT}/{stack}/code/{source}-{digest}"
