"""A job starts once its cards are held for it and its memory is free; until then it stays queued, and people are told.

Nothing is claimed while this waits: another worker may take the job, and it costs no attempt.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from app.core.gpu.decide import Need, Reservation, crowded, obstacle
from app.core.gpu.locks import Held, take
from app.core.gpu.state import NoAnswer, State, read_state, since_boot

log = logging.getLogger(__name__)
LOOK_EVERY = 1.0  # seconds between two looks at the cards: they are looked at by farrier-gpus.service as often
REMEMBERED = 10.0  # seconds for which one who held memory is blamed, though it has left since
FRESH = 3.0  # seconds that are waited for a word about the cards that is newer than a job's end
NOT_NOTED = "?"  # what is noted in the ledger from before is not known


class Cards(Protocol):
    """The cards of a worker, to each of its jobs."""

    @contextmanager
    def held(self, wanted: Callable[[], bool], tell: Callable[[str | None], bool]) -> Iterator[bool]:
        """Hold the cards; yields False once nothing is `wanted` any more. `tell` notes what is waited for, or None."""

    def look(self) -> None:
        """To be called often while a job runs: remembers who else is on its cards."""

    def crowded(self) -> str | None:
        """Who left the job that just failed too little memory, in words; None: it had what it declared."""


class NoCards:
    """A worker without a GPU: nothing keeps it from taking jobs."""

    @contextmanager
    def held(self, wanted: Callable[[], bool], tell: Callable[[str | None], bool]) -> Iterator[bool]:
        """Nothing is to be held."""
        del wanted, tell
        yield True

    def look(self) -> None:
        """Nobody can be in the way."""

    def crowded(self) -> str | None:
        """Nobody was."""
        return None


@dataclass(slots=True)
class HostCards:
    """The cards that this worker's unit was given. `run`: the folder of the state and of the locks."""

    need: Need
    run: Path
    _noted: str | None = NOT_NOTED
    _looked: float = float("-inf")
    _seen: tuple[float, str] = (float("-inf"), "")
    _began: float = field(default_factory=time.monotonic)

    @contextmanager
    def held(self, wanted: Callable[[], bool], tell: Callable[[str | None], bool]) -> Iterator[bool]:
        """See Cards."""
        with ExitStack() as taken:
            while is_wanted := wanted():
                try:
                    taken.enter_context(self._take())
                    break
                except Held as why:
                    self._note(f"waiting for {why}", tell)
                except NoAnswer as why:
                    self._note(f"waiting for GPUs: {why}", tell)
                time.sleep(LOOK_EVERY)
            self._note(None, tell)
            self._seen = (float("-inf"), "")
            yield is_wanted

    def look(self) -> None:
        """See Cards."""
        if time.monotonic() - self._looked < LOOK_EVERY:
            return
        self._looked = time.monotonic()
        try:
            self._remember(read_state(self.run))
        except NoAnswer:  # whether a job may go on is not asked here
            return

    def crowded(self) -> str | None:
        """See Cards."""
        ended = since_boot()
        try:
            while (state := read_state(self.run)).at < ended and since_boot() < ended + FRESH:
                time.sleep(0.1)
        except NoAnswer as why:  # nobody can say that the job had its memory
            return str(why)
        self._remember(state)
        at, words = self._seen
        return words if since_boot() - at < REMEMBERED else None

    def _remember(self, state: State) -> None:
        if words := crowded(self.need, state):
            self._seen = (since_boot(), words)

    def _take(self) -> ExitStack:
        """Hold all cards; raises Held or NoAnswer."""
        state = read_state(self.run)
        ended = {each.pid for card in state.cards for each in card.processes if self._has_ended(each.unit, each.pid)}

        def decide(index: int, others: Sequence[Reservation]) -> str | None:
            card = state.by_index.get(index)
            return obstacle(self.need, card, others, ended) if card else "it is not there"

        return take(self.run, self.need, decide)

    def _has_ended(self, unit: str | None, pid: int) -> bool:
        """Whether it was a step of the job before. Of other users' processes nothing can be seen here."""
        return unit == self.need.unit and not Path(f"/proc/{pid}").exists()

    def _note(self, words: str | None, tell: Callable[[str | None], bool]) -> None:
        if words == self._noted:
            return
        if words is None and self._noted != NOT_NOTED:
            log.info("waited %.0f s for a GPU", time.monotonic() - self._began)
        elif words and self._noted in (None, NOT_NOTED):
            self._began = time.monotonic()
            log.warning("no job is begun: %s", words)
        if tell(words):
            self._noted = words
