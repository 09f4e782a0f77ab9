"""Answers kept in Redis for a while, per organization, out of use as soon as what they show has changed.

An answer is kept under its organization, its kind, a version and its question. The version is read before the answer is
computed, so one that was overtaken while it was computed is kept under a number nobody asks for any more. Nothing is
older than its lifetime, whatever messages were lost. Redis away: every question goes to the database, and Redis is
left alone for some seconds so that nobody waits for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from uuid import UUID

import structlog
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from nexus.contracts.redis_keys import cache_version, cached_answer

MAX_BYTES = 1_048_576
"""Larger answers are not kept."""
WAIT_SECONDS = 0.25
"""How long Redis may take: about what the database would."""
PAUSE_SECONDS = 5.0
_READS = Counter("nexus_cache_reads", "Cached reads, by kind and outcome.", ("kind", "outcome"))
_log = structlog.get_logger("nexus.cache")


class Kind(Enum):
    """What is kept, under which name, and for how many seconds at most."""

    METRICS_REALTIME = ("metrics", 30)
    METRICS_HOURLY = ("metrics", 300)
    METRICS_DAILY = ("metrics", 1800)
    PROVIDER_STATUS = ("status", 60)
    BUDGET_STATUS = ("budget", 120)
    DASHBOARD = ("dashboard", 60)
    PREFERENCES = ("preferences", 3600)

    @property
    def label(self) -> str:
        """The name in the key."""
        return self.value[0]

    @property
    def seconds(self) -> int:
        """The lifetime."""
        return self.value[1]


@dataclass(frozen=True)
class Kept:
    """An answer, how old it is, and whether it came from the cache."""

    content: bytes
    age_seconds: int
    is_hit: bool


class ReadCache:
    """The cached reads of one process. Questions that come at once are computed once."""

    def __init__(self, redis: Redis | None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._monotonic = monotonic
        self._away_until = 0.0
        self._locks: dict[str, asyncio.Lock] = {}

    async def read(
        self,
        organization_id: UUID,
        kind: Kind,
        question: bytes,
        compute: Callable[[], Awaitable[bytes]],
        *,
        salt: str = "",
    ) -> Kept:
        """Return the kept answer to a question, or compute and keep it.

        `question` must name everything the answer depends on but the organization. `salt` is a second version, of what
        changes without a message.
        """
        version = await self._version(organization_id)
        if version is None:
            _READS.labels(kind.name.lower(), "bypassed").inc()
            return Kept(await compute(), 0, False)
        digest = hashlib.sha256(kind.name.encode() + b"\0" + question).hexdigest()
        key = cached_answer(organization_id, kind.label, f"{version}.{salt}", digest)
        kept = await self._get(key, kind)
        if kept is not None:
            return kept
        lock = self._locks.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                kept = await self._get(key, kind)
                if kept is None:
                    began = time.time()
                    content = await compute()
                    await self._put(key, kind, content, began)
                    _READS.labels(kind.name.lower(), "miss").inc()
                    kept = Kept(content, 0, False)
                return kept
        finally:
            if not lock.locked():
                self._locks.pop(key, None)

    async def changed(self, organization_id: UUID) -> None:
        """Take all kept answers of an organization out of use. Without Redis there are none."""
        if self._redis is not None:
            await self._try(self._redis.incr(cache_version(organization_id)))

    async def _version(self, organization_id: UUID) -> str | None:
        if self._redis is None or self._monotonic() < self._away_until:
            return None
        found = await self._try(self._redis.get(cache_version(organization_id)))
        if self._monotonic() < self._away_until:
            return None
        return found.decode() if isinstance(found, bytes) else str(found or 0)

    async def _get(self, key: str, kind: Kind) -> Kept | None:
        assert self._redis is not None
        found = await self._try(self._redis.get(key))
        if not isinstance(found, bytes):
            return None
        stamp, _, content = found.partition(b"\n")
        age = max(0, int(time.time()) - int(stamp))
        # The clocks of two machines may differ; what Redis still holds is young enough by Redis's own.
        _READS.labels(kind.name.lower(), "hit").inc()
        return Kept(content, min(age, kind.seconds), True)

    async def _put(self, key: str, kind: Kind, content: bytes, began: float) -> None:
        assert self._redis is not None
        # An answer is as old as the moment it was asked for, however long it took.
        left_ms = int((began + kind.seconds - time.time()) * 1000)
        if len(content) <= MAX_BYTES and left_ms > 0:
            await self._try(self._redis.set(key, b"%d\n%s" % (int(began), content), px=left_ms))

    async def _try(self, command: Awaitable[object]) -> object:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return await command
        except (RedisError, OSError, TimeoutError) as error:
            self._away_until = self._monotonic() + PAUSE_SECONDS
            _log.info("cached reads go to the database", error=type(error).__name__)
            return None
