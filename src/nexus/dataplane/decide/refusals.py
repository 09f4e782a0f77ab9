"""Counts of calls that limits refused: kept in memory by who asked and which limit said no, told to PostgreSQL beside the calls.

A count is told as it stands in its minute, each second in which it changed, under this process's name. So what is told twice
counts once, and what waits while PostgreSQL is away loses nothing but its room: beyond `MOST` counts those who come new are
counted together.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

import msgspec
import structlog

from nexus.contracts.limits import Call, Limit
from nexus.dataplane.decide.types import Decision
from nexus.kit.clock import SYSTEM_CLOCK, Clock
from nexus.kit.ids import uuid7
from nexus.platform.db import DATABASE_TROUBLE, Database, load_queries
from nexus.platform.tasks import Repeated

QUERIES = load_queries("nexus.dataplane")
MOST = 5_000
"""Counts that are kept at once: an attack with many names takes no more room than this."""
_EVERY_SECONDS = 1.0
_TIMEOUT_SECONDS = 10.0
_NOBODY = UUID(int=0)
_MAX_NAME = 300

Kind = Literal["refused", "impossible", "unavailable", "shadow"]
log = structlog.get_logger("nexus.admission")


class _Place(NamedTuple):
    """Of whom a count is, and of what."""

    organization_id: UUID
    minute: datetime
    bucket: str
    kind: Kind
    key_id: UUID
    application: str


class _Count(msgspec.Struct):
    """How often, and the last time."""

    limit: Limit
    calls: int
    retry_after_ms: int | None
    last_at: datetime


class RefusalBook:
    """The refusals of one process. Without a database they are counted and told nobody."""

    def __init__(self, database: Database | None = None, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._database = database
        self._clock = clock
        self._process = uuid7()
        self._counts: dict[_Place, _Count] = {}
        self._untold: set[_Place] = set()
        self._telling = Repeated(self.tell, every_seconds=_EVERY_SECONDS, name="refusals")

    def note(self, call: Call, decision: Decision) -> None:
        """Count a call that a limit refused. A hold that was spent before is no refusal."""
        limit = decision.refused_by
        if limit is None or decision.outcome not in {"refused", "impossible", "unavailable"}:
            return
        bucket = next((item.bucket for item in decision.standings if item.limit is limit), limit.id.hex)
        retry = None if decision.outcome == "impossible" else -(-decision.retry_us // 1000)
        self._add(call, limit, bucket, decision.outcome, retry)

    def note_shadow(self, call: Call, limit: Limit, bucket: str) -> None:
        """Count a call that a limit in shadow mode would have refused."""
        self._add(call, limit, bucket, "shadow", None)

    def _add(self, call: Call, limit: Limit, bucket: str, kind: Kind, retry_after_ms: int | None) -> None:
        if self._database is None:
            return
        now = self._clock.now()
        minute = now.replace(second=0, microsecond=0)
        place = _Place(
            call.organization_id, minute, bucket[:_MAX_NAME], kind, call.key_id or _NOBODY, call.application[:_MAX_NAME]
        )
        if place not in self._counts and len(self._counts) >= MOST:
            place = _Place(call.organization_id, minute, f"{limit.id.hex}:", kind, _NOBODY, "")
        found = self._counts.get(place)
        if found is None:
            found = self._counts[place] = _Count(limit, 0, None, now)
        found.calls += 1
        found.retry_after_ms, found.last_at = retry_after_ms, now
        self._untold.add(place)

    def start(self) -> None:
        """Begin to tell."""
        if self._database is not None:
            self._telling.start()

    async def stop(self) -> None:
        """Tell what is left, if PostgreSQL answers, and stop."""
        await self._telling.stop()

    async def tell(self) -> None:
        """Tell what changed since the last time, and forget minutes that are over and told."""
        if self._database is None or not self._counts:
            return
        untold, self._untold = self._untold, set()
        rows = [_row(place, self._counts[place]) for place in untold]
        try:
            if rows:
                async with asyncio.timeout(_TIMEOUT_SECONDS), self._database.as_system() as connection:
                    await connection.fetchval(QUERIES["note_refusals"], self._process, rows)
        except DATABASE_TROUBLE as error:
            self._untold |= untold
            log.debug("counts of refused calls wait for PostgreSQL", error=repr(error))
            return
        minute = self._clock.now().replace(second=0, microsecond=0)
        for place in [place for place in self._counts if place.minute < minute and place not in self._untold]:
            del self._counts[place]


def _row(place: _Place, count: _Count) -> dict[str, object]:
    limit = count.limit
    return {
        "organization_id": str(place.organization_id), "minute": place.minute.isoformat(), "bucket": place.bucket,
        "kind": place.kind, "key_id": str(place.key_id), "application": place.application, "limit_name": limit.name,
        "scope": limit.scope, "subject": place.bucket.partition(":")[2] or limit.subject or "", "dimension": limit.dimension,
        "calls": count.calls, "retry_after_ms": count.retry_after_ms, "last_at": count.last_at.isoformat(),
    }  # fmt: skip
