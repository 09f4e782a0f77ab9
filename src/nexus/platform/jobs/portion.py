"""How much of a backlog is worked off in one transaction."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import asyncpg

_LEAST = 500
_FIRST = 1_000
"""What gets through in its time even where each row has dozens of groups of its own, and the machine is busy."""
_QUICK_SECONDS = 5.0


class Portion:
    """Rows for one transaction: few at first, half as many after they took too long, twice as many while they are quick.

    Work that is tried again at a size that its time limit cut off would never get through; and what the limit cut off was
    done for nothing, so nobody begins with the most.
    """

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self.rows = min(_FIRST, most)
        self._clock = clock

    async def take(self, work: Callable[[int], Awaitable[int]]) -> int:
        """Do work on as many rows as are right now, and return how many it did; its time-out is passed on."""
        began = self._clock()
        try:
            done = await work(self.rows)
        except (TimeoutError, asyncpg.QueryCanceledError):
            self.rows = max(min(self.rows, _LEAST), self.rows // 2)
            raise
        # With nothing to do, or less than a portion, or another node at it, nobody knows how long a portion takes.
        if done >= self.rows and self._clock() - began < _QUICK_SECONDS:
            self.rows = min(self._most, self.rows * 2)
        return done
