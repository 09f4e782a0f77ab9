"""Probes: is the process alive, and can it take records now?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
from redis.asyncio import Redis

from nexus.dataplane.ingest.service import Ingest
from nexus.platform.db import Database

_CHECK_TIMEOUT_SECONDS = 1.5
_REMEMBER_SECONDS = 0.5


class Part(msgspec.Struct, frozen=True):
    """One part a process depends on."""

    status: str
    detail: str = ""


class Readiness(msgspec.Struct, frozen=True):
    """`ready`: all is well. `degraded`: records are taken (spooled, if need be), something else is away. `unready`."""

    status: str
    parts: dict[str, Part]


@dataclass
class HealthChecks:
    """Checks the parts of one web process; answers are remembered for half a second, so that probes cost nothing."""

    database: Database
    redis: Redis | None
    ingest: Ingest
    _last: tuple[float, Readiness] | None = None

    async def readiness(self) -> Readiness:
        """Tell what works."""
        now = time.monotonic()
        if self._last is not None and now - self._last[0] < _REMEMBER_SECONDS:
            return self._last[1]
        postgres, redis = await asyncio.gather(_check(self._ask_postgres), _check(self._ask_redis))
        reason = self.ingest.unready_reason()
        parts = {"postgres": postgres, "redis": redis, "ingest": Part("down", reason) if reason else Part("up")}
        if reason:
            status = "unready"
        elif all(part.status == "up" for part in parts.values()):
            status = "ready"
        else:
            status = "degraded"
        found = Readiness(status, parts)
        self._last = (now, found)
        return found

    async def _ask_postgres(self) -> None:
        pool = await self.database.pool("system")
        await pool.fetchval("SELECT 1", timeout=_CHECK_TIMEOUT_SECONDS)

    async def _ask_redis(self) -> None:
        if self.redis is not None:
            await self.redis.ping()


async def _check(ask: Callable[[], Awaitable[None]]) -> Part:
    try:
        await asyncio.wait_for(ask(), _CHECK_TIMEOUT_SECONDS)
    except Exception as error:  # noqa: BLE001  # whatever keeps a part from answering is what a probe reports
        return Part("down", type(error).__name__)
    return Part("up")
