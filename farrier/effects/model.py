"""The nouns of a prediction, as they stand in `farrier plan --effects --json`."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, computed_field

from farrier.plan.model import Part

How = Literal["bridge", "follow", "restart", "start", "stop", "end"]
Become = Literal["new", "changed", "removed"]
_OVER = ("bridge", "follow", "restart")
_GONE = ("stop", "end")
_READS_BACK = ConfigDict(frozen=True, extra="ignore")  # what is computed stands in the JSON too


class UnitEffect(Part):
    """What happens to one unit.

    `bridge`: it restarts while a second generation serves. `follow`: it restarts when its work in hand has ended.
    `restart`: in its place. `start`: it did not run. `stop`: it is taken away. `end`: the same, after its work in hand.
    """

    unit: str
    how: How
    why: str


class FileEffect(Part):
    """A file or folder on the host that is written or removed. Folders of code are named by their content."""

    path: str
    become: Become


class Wait(Part):
    """The longest that one part of going live may take."""

    what: str
    seconds: int


class StackEffects(Part):
    """One stack. `release`: its first one, a new one, or the one that is live."""

    model_config = _READS_BACK

    stack: str
    release: Literal["first", "new", "same"]
    units: tuple[UnitEffect, ...]
    files: tuple[FileEffect, ...]
    reload_front: bool
    waits: tuple[Wait, ...]
    notes: tuple[str, ...]

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def restarts(self) -> tuple[str, ...]:
        """Units that run before and after, as another process."""
        return self._named(*_OVER)

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def starts(self) -> tuple[str, ...]:
        """Units that run afterwards, and did not before."""
        return self._named("start")

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def stops(self) -> tuple[str, ...]:
        """Units that are taken away."""
        return self._named(*_GONE)

    @property
    def changes(self) -> bool:
        """Whether anything happens to this stack."""
        return self.release != "same" or bool(self.units or self.files or self.notes or self.reload_front)

    def _named(self, *hows: str) -> tuple[str, ...]:
        return tuple(sorted(each.unit for each in self.units if each.how in hows))


class Download(Part):
    """Something that the host does not have yet. `size` in bytes; None where nothing on the controller tells it."""

    what: str
    size: int | None


class Disk(Part):
    """A folder whose file system must have room: bytes."""

    folder: str
    need: int
    free: int


class Effects(Part):
    """Everything that a deploy will do to one host."""

    model_config = _READS_BACK

    host: str
    stacks: tuple[StackEffects, ...]
    files: tuple[FileEffect, ...]  # the front door's, and farrier-release's own
    downloads: tuple[Download, ...]
    disks: tuple[Disk, ...]
    reload_front: bool  # whether Caddy reads its configuration again

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def changes(self) -> bool:
        """Whether anything happens at all."""
        return bool(self.files or self.downloads or self.reload_front) or any(stack.changes for stack in self.stacks)

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def bytes_to_download(self) -> int:
        """As far as sizes are known."""
        return sum(download.size or 0 for download in self.downloads)

    @computed_field  # type: ignore[prop-decorator]  # mypy knows no decorated property
    @property
    def longest_wait(self) -> int:
        """Seconds that going live takes at most, before it is given up and taken back; stacks go one by one."""
        return sum(wait.seconds for stack in self.stacks for wait in stack.waits)
