"""Which part of each limit is a process's while Redis is away: each gives a sign of life, and remembers the share it is given."""

from __future__ import annotations

import asyncio
import contextlib
from fractions import Fraction
from pathlib import Path

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from nexus.dataplane.decide.breaker import LONGEST_SECONDS, Breaker
from nexus.dataplane.decide.scripts import WHOLE, Scripts
from nexus.kit.ids import uuid7

_KEY = "nx:shares"
SILENT_US = 10_000_000
"""For so long one that gives no sign is counted: it may be cut off, and decide by the share that it was last told of."""
log = structlog.get_logger("nexus.admission")


class Nodes:
    """The processes that decide. With a file the number outlives this process, for a start while Redis is away."""

    def __init__(self, redis: Redis, scripts: Scripts, breaker: Breaker, *, file: Path | None = None) -> None:
        self._redis = redis
        self._scripts = scripts
        self._breaker = breaker
        self._file = file
        self._name = uuid7().hex
        self._told = 0
        self.count: int | None = None
        """As last known; None: Redis never told."""
        self.share: Fraction | None = None
        """Of 1; with those of all others it is at most 1. None: Redis never told."""

    async def recall(self) -> None:
        """Take over the number that an earlier process left."""
        if self._file is not None:
            with contextlib.suppress(OSError, ValueError):
                self.count = max(1, int(await asyncio.to_thread(self._file.read_text, "ascii")))
                # It takes the place of that one, whose share was as large when all had one.
                self.share = Fraction(1, self.count)

    async def beat(self) -> None:
        """Give a sign of life, and take the share that is given. `LimiterAway` when Redis is."""
        beat = self._scripts.beat(_KEY, self._name, SILENT_US, self._told)
        count, self._told = await self._breaker.run(beat, silence_seconds=LONGEST_SECONDS)
        self.share = Fraction(self._told, WHOLE)
        if count != self.count and self._file is not None:
            try:
                await asyncio.to_thread(self._write, count)
            except OSError as error:
                log.warning("the number of processes could not be kept", error=repr(error))
        self.count = count

    async def leave(self) -> None:
        """Be counted no more."""
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            await self._redis.hdel(_KEY, self._name)

    def _write(self, count: int) -> None:
        assert self._file is not None
        self._file.parent.mkdir(parents=True, exist_ok=True)
        # Of several processes of one machine all write the same number, and readers find a whole one.
        part = self._file.with_name(f"{self._file.name}.{self._name}")
        part.write_text(str(count), "ascii")
        part.replace(self._file)
