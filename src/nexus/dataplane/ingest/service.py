"""Ingest of one process: takes records in over HTTP, or from the code beside it, and acknowledges what is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec
from redis.asyncio import Redis

from nexus.contracts.calls import ApiCall
from nexus.contracts.keys import KeyEntry
from nexus.dataplane.ingest.commit import CallStore, PostgresStore
from nexus.dataplane.ingest.drain import Drain
from nexus.dataplane.ingest.live import LivePublisher
from nexus.dataplane.ingest.metrics import IngestMetrics
from nexus.dataplane.ingest.resolve import Caller, Prepared, Resolver
from nexus.dataplane.ingest.spool import Disk, Spool
from nexus.dataplane.ingest.validate import Checked, check_at_once, check_one_by_one
from nexus.dataplane.ingest.writer import Writer
from nexus.dataplane.snapshots import Snapshots
from nexus.kit.clock import SYSTEM_CLOCK, Clock
from nexus.kit.errors import FieldFault
from nexus.platform.db import Database
from nexus.platform.settings import Settings

# Records prepared before other requests get a turn of the event loop.
_SLICE = 1_000


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record that was not taken."""

    index: int
    errors: list[FieldFault]
    id: str | None = None


class Receipt(msgspec.Struct, frozen=True):
    """What became of the records of one request."""

    received: int
    accepted: int
    """Records that are durable: stored, known before, or in the spool."""
    stored: int | None
    """Of them, those stored now; None when the spool took them, as it cannot know."""
    duplicates: int | None
    """Of them, those whose id was stored before; None when the spool took them."""
    refused: list[Refusal]
    durability: Literal["committed", "spooled"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request may hold."""

    records: int
    body_bytes: int
    record_bytes: int

    @classmethod
    def from_settings(cls, settings: Settings) -> Limits:
        """Take the limits from the settings."""
        return cls(settings.ingest_max_records, settings.ingest_max_bytes, settings.ingest_max_record_bytes)


class Ingest:
    """Reads, resolves, prices and stores records. One for each process.

    `start` and `stop` belong to the process's life. `submit` takes records from code in the same process (gateway,
    OTLP); `take` takes the decoded body of a request. Both return when every accepted record is durable.
    """

    def __init__(
        self,
        *,
        database: Database,
        settings: Settings,
        snapshots: Snapshots,
        redis: Redis | None = None,
        clock: Clock = SYSTEM_CLOCK,
        metrics: IngestMetrics | None = None,
        store: CallStore | None = None,
        disk: Disk | None = None,
    ) -> None:
        self.snapshots = snapshots
        self.limits = Limits.from_settings(settings)
        self.metrics = metrics or IngestMetrics()
        self.clock = clock
        self._live = LivePublisher(redis, self.metrics, clock=clock)
        self._store = store or PostgresStore(database, timeout_seconds=settings.ingest_commit_timeout_ms / 1000)
        self.spool = Spool(settings.data_dir / "spool", limit_bytes=settings.spool_limit_bytes, disk=disk)
        self.writer = Writer(
            self._store,
            self.spool,
            self.metrics,
            batch_rows=settings.ingest_batch_rows,
            batch_delay_ms=settings.ingest_batch_delay_ms,
            queue_rows=settings.ingest_queue_rows,
            on_stored=self._live.note,
        )
        self.drain = Drain(self.writer, self._store, self.spool, self.metrics, batch_rows=settings.ingest_batch_rows)
        self._resolver = Resolver(snapshots.prices)
        self._callers: dict[UUID, Caller] = {}
        snapshots.on_change(self._forget)

    def _forget(self) -> None:
        self._resolver = Resolver(self.snapshots.prices)
        self._callers = {}

    async def start(self) -> None:
        """Begin to commit, drain and publish. The snapshots are started by whoever made them."""
        self.writer.start()
        self.drain.start()
        self._live.start()

    async def stop(self) -> None:
        """Refuse what comes, commit or spool what waits, and let go of the spool."""
        await self.drain.stop()
        await self.writer.stop()
        await self._live.stop()

    def unready_reason(self) -> str | None:
        """Return why records cannot be taken now, or None when they can."""
        if not self.snapshots.is_loaded:
            return "keys and prices are not loaded yet: PostgreSQL has not answered since the start"
        if not self.writer.is_alive:
            return "the writer does not run"
        return None

    def caller_of(self, key: KeyEntry) -> Caller:
        """Return on whose behalf a key's records come in."""
        caller = self._callers.get(key.id)
        if caller is None:
            table = self.snapshots.keys
            organization = table.organizations[key.organization_id]
            caller = self._callers[key.id] = Caller(
                organization_id=organization.id,
                currency=organization.currency,
                tier=organization.tier,
                key_id=key.id,
                application=key.application,
                user_id=key.user_id,
                members=table.members.get(organization.id, {}),
            )
        return caller

    async def submit(self, caller: Caller, calls: Sequence[ApiCall], *, idempotency_key: str | None = None) -> Receipt:
        """Store records of code in the same process. Faulty ones are listed in the receipt, as over HTTP.

        Raises `QueueFull`, `ShareFull`, `SpoolFull`, `SpoolBroken` or `Stopping` when none of them was taken.
        """
        return await self._store_checked(
            caller, Checked(list(calls), range(len(calls)), [], len(calls)), idempotency_key, self.clock.now()
        )

    async def take(self, caller: Caller, body: bytes, *, is_lines: bool, idempotency_key: str | None = None) -> Receipt:
        """Store the records of a request's decoded body.

        Raises what `submit` raises, `Unreadable` when it holds no list of records, `TooManyRecords` beyond the limit.
        """
        received_at = self.clock.now()
        checked = check_at_once(body, is_lines=is_lines, max_records=self.limits.records)
        if checked is None:
            checked = await asyncio.to_thread(
                check_one_by_one,
                body,
                is_lines=is_lines,
                max_records=self.limits.records,
                max_record_bytes=self.limits.record_bytes,
            )
        return await self._store_checked(caller, checked, idempotency_key, received_at)

    async def _store_checked(
        self, caller: Caller, checked: Checked, idempotency_key: str | None, received_at: datetime
    ) -> Receipt:
        self.writer.admit(caller.organization_id, len(checked.calls))
        self.metrics.received.inc(checked.count)
        prepared = Prepared(faults=checked.faults)
        resolver = self._resolver
        for start in range(0, len(checked.calls), _SLICE):
            if start:
                await asyncio.sleep(0)
            resolver.prepare(
                caller,
                checked.calls[start : start + _SLICE],
                received_at=received_at,
                idempotency_key=idempotency_key,
                positions=checked.positions[start : start + _SLICE],
                into=prepared,
            )
        duplicates: int | None = 0
        stored: int | None = 0
        accepted = len(prepared.rows)
        durability: Literal["committed", "spooled"] = "committed"
        if prepared.rows:
            outcome = await self.writer.submit(caller.organization_id, prepared.rows, prepared.days)
            durability = outcome.durability
            accepted -= len(outcome.poisoned)
            for index, reason in outcome.poisoned.items():
                prepared.faults.append((prepared.positions[index], None, [FieldFault("", reason)]))
            if durability == "committed":
                duplicates, stored = outcome.duplicates, accepted - outcome.duplicates
            else:
                duplicates = stored = None
        self.metrics.unpriced.inc(prepared.unpriced)
        self.metrics.refused.inc(len(prepared.faults))
        refused = [
            Refusal(index, faults, record_id) for index, record_id, faults in sorted(prepared.faults, key=_index)
        ]
        return Receipt(checked.count, accepted, stored, duplicates, refused, durability)


def _index(fault: tuple[int, str | None, list[FieldFault]]) -> int:
    return fault[0]
