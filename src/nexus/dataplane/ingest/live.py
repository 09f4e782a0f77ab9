"""Announces stored records through Redis, so that dashboards know when to ask again. Ingest never waits for it."""

from __future__ import annotations

import asyncio
from uuid import UUID

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from nexus.contracts.redis_keys import cache_version, live_channel
from nexus.dataplane.ingest.metrics import IngestMetrics
from nexus.kit.clock import SYSTEM_CLOCK, Clock
from nexus.platform.tasks import end_tasks

EVERY_SECONDS = 0.25
_TIMEOUT_SECONDS = 1.0
_PAUSE_SECONDS = 2.0

log = structlog.get_logger(__name__)


class LivePublisher:
    """Adds up what was stored, and publishes at most one message an organization each quarter second.

    Redis away: counts are kept and told when it is back, or lost with the process; what they announce is in PostgreSQL.
    """

    def __init__(self, redis: Redis | None, metrics: IngestMetrics, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._redis = redis
        self._metrics = metrics
        self._clock = clock
        self._counts: dict[UUID, int] = {}
        self._came = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def note(self, organization_id: UUID, count: int) -> None:
        """Note that records of an organization were stored. Takes no time."""
        if self._redis is not None:
            self._counts[organization_id] = self._counts.get(organization_id, 0) + count
            self._came.set()

    def start(self) -> None:
        """Begin to publish."""
        if self._redis is not None:
            self._task = asyncio.create_task(self._run(), name="ingest-live")

    async def stop(self) -> None:
        """Publish what is left, if Redis answers at once, and stop."""
        if self._task is not None:
            await end_tasks(self._task)
            self._task = None
            await self.flush()

    async def _run(self) -> None:
        while True:
            await self._came.wait()
            self._came.clear()
            try:
                is_told = await self.flush()
            except Exception:
                # The edge of a task that must outlive whatever it meets: without it no page hears of a call any more.
                log.exception("live messages could not be published")
                is_told = False
            if not is_told:
                await asyncio.sleep(_PAUSE_SECONDS)
                self._came.set()
            await asyncio.sleep(EVERY_SECONDS)

    async def flush(self) -> bool:
        """Publish what was noted. False when Redis does not take it; then it is kept for the next time."""
        if self._redis is None or not self._counts:
            return True
        counts, self._counts = self._counts, {}
        at = self._clock.now().isoformat().replace("+00:00", "Z")
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                pipeline = self._redis.pipeline(transaction=False)
                for organization_id, count in counts.items():
                    # First the version, so that whoever hears of it finds no answer from before.
                    pipeline.incr(cache_version(organization_id))
                    pipeline.publish(live_channel(organization_id), msgspec.json.encode({"stored": count, "at": at}))
                await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            for organization_id, count in counts.items():
                self._counts[organization_id] = self._counts.get(organization_id, 0) + count
            self._metrics.live_lost.inc(len(counts))
            log.debug("live messages wait for Redis", error=repr(error))
            return False
        return True
