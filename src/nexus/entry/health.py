"""Probes: is the process alive, and can it take records now?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
from redis.asyncio import Redis

from nexus.dataplane.decide.engine import Admission
from nexus.dataplane.decide.tables import LimitSnapshots
from nexus.dataplane.ingest.service import Ingest
from nexus.platform.db import Database
from nexus.platform.jobs.heartbeat import last_heartbeat

_CHECK_TIMEOUT_SECONDS = 1.5
_REMEMBER_SECONDS = 0.5


class Part(msgspec.Struct, frozen=True):
    """One part a process depends on: `up` or `down`, and why."""

    status: str
    detail: str = ""


class Readiness(msgspec.Struct, frozen=True):
    """`ready`: all is well. `degraded`: records are taken (spooled, if need be), something else is away. `unready`.

    `degraded` names the parts that are away, `admission` where limits hold by their failure policies, and `snapshot` where
    this process serves by keys, prices or limits that it could not refresh for ten seconds. A probe is answered 200 unless
    the process is unready.
    """

    status: str
    degraded: list[str]
    parts: dict[str, Part]


@dataclass
class HealthChecks:
    """Checks the parts of one web process; answers are remembered for half a second, so that probes cost nothing."""

    database: Database
    redis: Redis
    ingest: Ingest
    limits: LimitSnapshots
    admission: Admission
    _last: tuple[float, Readiness] | None = None

    async def readiness(self) -> Readiness:
        """Tell what works."""
        now = time.monotonic()
        if self._last is not None and now - self._last[0] < _REMEMBER_SECONDS:
            return self._last[1]
        postgres, redis, worker = await asyncio.gather(
            _check(self._ask_postgres), _check(self._ask_redis), _check(self._ask_worker)
        )
        reason = self.ingest.unready_reason()
        parts = {
            "postgres": postgres,
            "redis": redis,
            "worker": worker,
            "admission": _part(_ask_admission(self.admission)),
            "snapshot": _part(self._ask_snapshots()),
            "spool": await _check(self._ask_spool),
            "ingest": _part(reason or ""),
        }
        down = [name for name, part in parts.items() if part.status != "up"]
        found = Readiness("unready" if reason else "degraded" if down else "ready", down, parts)
        self._last = (now, found)
        return found

    async def _ask_postgres(self) -> str:
        pool = await self.database.pool("system")
        await pool.fetchval("SELECT 1", timeout=_CHECK_TIMEOUT_SECONDS)
        return ""

    async def _ask_redis(self) -> str:
        await self.redis.ping()
        return ""

    async def _ask_worker(self) -> str:
        if await last_heartbeat(self.redis) is None:
            raise NoWorkerError
        return ""

    def _ask_snapshots(self) -> str:
        """Say what is not loaded, or so old that a change made since may not be in force here; nothing when all is well."""
        if not self.ingest.snapshots.is_loaded:
            return "keys and prices are not loaded yet"
        if not self.limits.is_loaded:
            return "limits are not loaded yet"
        stale = {**self.ingest.snapshots.freshness.stale(), **self.limits.freshness.stale()}
        return "; ".join(f"{name} {since}" for name, since in stale.items())

    async def _ask_spool(self) -> str:
        waiting = await asyncio.to_thread(self.ingest.spool.size_bytes)
        return f"{waiting} bytes wait for PostgreSQL" if waiting else ""


def _ask_admission(admission: Admission) -> str:
    if not admission.is_degraded:
        return ""
    return (
        "Redis does not answer: limits that fail closed refuse, those that fail open admit and record, "
        "local ones give this process's share"
    )


class NoWorkerError(Exception):
    """No worker has given a sign of life for fifteen seconds."""


async def _check(ask: Callable[[], Awaitable[str]]) -> Part:
    try:
        return Part("up", await asyncio.wait_for(ask(), _CHECK_TIMEOUT_SECONDS))
    except NoWorkerError as error:
        return Part("down", (type(error).__doc__ or "").rstrip("."))
    except Exception as error:  # noqa: BLE001  # whatever keeps a part from answering is what a probe reports
        return Part("down", type(error).__name__)


def _part(reason: str) -> Part:
    return Part("down", reason) if reason else Part("up")
