"""Tells the control plane, through Redis, what this process knows of the endpoints it calls."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from nexus.contracts.health import ToldHealth
from nexus.contracts.redis_keys import endpoint_health
from nexus.dataplane.gateway.health import Endpoint, EndpointHealth, HealthBook
from nexus.kit.clock import Clock
from nexus.kit.ids import uuid7
from nexus.platform.tasks import Repeated

KEPT_SECONDS = 86_400
"""After a day without a call nothing is known of an endpoint."""
_EVERY_SECONDS = 1.0
_TIMEOUT_SECONDS = 1.0

log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ToldHealth).decode


class HealthTeller:
    """The telling side of one process's health book.

    Redis away: what changed waits. Each process has a field of its own in the hash of a provider; what processes wrote that
    ended long ago is taken out by the first that writes there.
    """

    def __init__(self, book: HealthBook, redis: Redis | None, clock: Clock) -> None:
        self._book = book
        self._redis = redis
        self._clock = clock
        # Of no use to anybody but this process: a number that no other one has.
        self._process = f"{os.getpid()}-{uuid7().hex[-12:]}"
        self._swept: set[str] = set()
        self._telling = Repeated(self.tell, every_seconds=_EVERY_SECONDS, name="gateway-health")

    def start(self) -> None:
        """Begin to tell."""
        if self._redis is not None:
            self._telling.start()

    async def stop(self) -> None:
        """Tell what is left, if Redis answers at once, and stop."""
        await self._telling.stop()

    async def tell(self) -> None:
        """Put what changed where the control plane reads it."""
        untold = list(self._book.untold())
        if self._redis is None or not untold:
            return
        for _, health in untold:
            health.is_told = True
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await self._write(self._redis, untold)
        except (RedisError, OSError, TimeoutError) as error:
            for _, health in untold:
                health.is_told = False
            log.debug("the health of endpoints waits for Redis", error=repr(error))

    async def _write(self, redis: Redis, untold: list[tuple[Endpoint, EndpointHealth]]) -> None:
        pipeline = redis.pipeline(transaction=False)
        keys: set[str] = set()
        now, monotonic = self._clock.now(), time.monotonic()
        for endpoint, health in untold:
            organization_id, provider, base_url, credential_id = endpoint
            key = endpoint_health(organization_id, provider)
            told = _told(self._process, endpoint, health, now, monotonic)
            pipeline.hset(key, f"{self._process} {credential_id or '-'} {base_url}", _encode(told).decode())
            keys.add(key)
        for key in keys:
            pipeline.expire(key, KEPT_SECONDS)
        await pipeline.execute()
        for key in keys - self._swept:
            await self._sweep(redis, key, now)
            self._swept.add(key)

    async def _sweep(self, redis: Redis, key: str, now: datetime) -> None:
        """Take out what was told more than a day ago."""
        fields: dict[Any, Any] = await redis.hgetall(key)
        old = [name for name, value in fields.items() if is_past(value, now)]
        if old:
            await redis.hdel(key, *old)


def is_past(value: bytes, now: datetime) -> bool:
    """Tell whether a field says nothing any more."""
    try:
        return _decode(value).at < now - timedelta(seconds=KEPT_SECONDS)
    except msgspec.DecodeError:
        return True


def _told(process: str, endpoint: Endpoint, health: EndpointHealth, now: datetime, monotonic: float) -> ToldHealth:
    def instant(at: float | None) -> datetime | None:
        return None if at is None else now + timedelta(seconds=at - monotonic)

    opened_at = health.opened_at
    return ToldHealth(
        process=process,
        at=now,
        base_url=endpoint[2],
        credential_id=endpoint[3],
        open_until=None if opened_at is None else instant(opened_at + health.open_seconds),
        failures_in_a_row=health.in_a_row,
        recent_calls=len(health.recent),
        recent_failures=sum(not item for item in health.recent),
        last_success_at=instant(health.worked_at),
        last_failure_at=instant(health.failed_at),
        last_failure=health.failure,
    )
