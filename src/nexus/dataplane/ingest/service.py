"""Ingest of one process: takes records in over HTTP, or from the code beside it, and acknowledges what is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec
from redis.asyncio import Redis

from nexus.contracts.keys import KeyEntry
from nexus.contracts.limit_sets import LimitSet
from nexus.dataplane.ingest.commit import PostgresStore, RecordStore
from nexus.dataplane.ingest.drain import Drain
from nexus.dataplane.ingest.limit_sets import LIMIT_SET, KeptSets, row_of
from nexus.dataplane.ingest.live import LivePublisher
from nexus.dataplane.ingest.metrics import IngestMetrics
from nexus.dataplane.ingest.record_type import Caller, Encoder, Prepared, Tables
from nexus.dataplane.ingest.record_types import RECORD_TYPES
from nexus.dataplane.ingest.spool import Disk, Spool
from nexus.dataplane.ingest.validate import Checked, Part, check_at_once, check_one_by_one, sort_out
from nexus.dataplane.ingest.writer import Outcome, Writer
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
        store: RecordStore | None = None,
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
        self._encoders = self._made_encoders()
        self._callers: dict[UUID, Caller] = {}
        self._kept_sets = KeptSets()
        snapshots.on_change(self._forget)

    def _forget(self) -> None:
        self._encoders = self._made_encoders()
        self._callers = {}

    def _made_encoders(self) -> dict[str, Encoder]:
        tables = Tables(self.snapshots.prices, self.snapshots.gateway.bodies)
        return {name: record_type.encoder(tables) for name, record_type in RECORD_TYPES.items()}

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

    async def submit(
        self,
        caller: Caller,
        records: Sequence[msgspec.Struct],
        *,
        idempotency_key: str | None = None,
        limit_sets: Sequence[LimitSet] = (),
    ) -> Receipt:
        """Store records of code in the same process. Faulty ones are listed in the receipt, as over HTTP.

        `limit_sets` are those of the caller's organization that records may name; they are durable before any record is stored.
        Raises `QueueFull`, `ShareFull`, `SpoolFull`, `SpoolBroken` or `Stopping` when not all of them were taken: those
        of another type may be stored, and are known when they come again.
        """
        parts = sort_out(records, range(len(records)))
        checked = Checked(parts, [], len(records))
        return await self._store_checked(caller, checked, idempotency_key, self.clock.now(), limit_sets)

    async def take(
        self,
        caller: Caller,
        body: bytes,
        *,
        is_lines: bool,
        idempotency_key: str | None = None,
        admit: Callable[[int], Awaitable[None]] | None = None,
    ) -> Receipt:
        """Store the records of a request's decoded body. `admit` hears how many there are before any is stored, and may raise.

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
        if admit is not None:
            await admit(checked.count)
        return await self._store_checked(caller, checked, idempotency_key, received_at)

    async def _store_checked(
        self,
        caller: Caller,
        checked: Checked,
        idempotency_key: str | None,
        received_at: datetime,
        limit_sets: Sequence[LimitSet] = (),
    ) -> Receipt:
        self.writer.admit(caller.organization_id, sum(len(part.records) for part in checked.parts))
        self.metrics.received.inc(checked.count)
        faults = checked.faults
        ready = [
            (part, await self._prepare(caller, part, idempotency_key, received_at, faults)) for part in checked.parts
        ]
        if limit_sets:
            await self._keep(caller, limit_sets, {day for _, prepared in ready for day in prepared.days})
        waiting = [
            self.writer.submit(part.record_type, caller.organization_id, prepared.rows, prepared.days)
            for part, prepared in ready
            if prepared.rows
        ]
        prepared_parts = [prepared for _, prepared in ready if prepared.rows]
        # One type, the usual case, is awaited without a task of its own.
        outcomes = [await waiting[0]] if len(waiting) == 1 else await _all_outcomes(waiting)
        accepted = sum(len(prepared.rows) for prepared in prepared_parts)
        duplicates: int | None = 0
        stored: int | None = 0
        durability: Literal["committed", "spooled"] = "committed"
        for prepared, outcome in zip(prepared_parts, outcomes, strict=True):
            accepted -= len(outcome.left_out)
            for index, reason in outcome.poisoned.items():
                faults.append((prepared.positions[index], None, [FieldFault("", reason)]))
            for index, fault in outcome.refused.items():
                faults.append((prepared.positions[index], None, [fault]))
            if outcome.durability == "spooled":
                durability = "spooled"
        if durability == "committed":
            duplicates = sum(outcome.duplicates for outcome in outcomes)
            stored = accepted - duplicates
        else:
            duplicates = stored = None
        self.metrics.refused.inc(len(faults))
        refused = [Refusal(index, told, record_id) for index, record_id, told in sorted(faults, key=_index)]
        return Receipt(checked.count, accepted, stored, duplicates, refused, durability)

    async def _keep(self, caller: Caller, limit_sets: Sequence[LimitSet], days: Collection[int]) -> None:
        """Return when sets that records of these days may name are durable; raises what `submit` does."""
        missing = self._kept_sets.missing(limit_sets, days)
        if not missing:
            return
        rows = [row_of(*item) for item in missing]
        await self.writer.submit(LIMIT_SET, caller.organization_id, rows, set())
        self._kept_sets.note(missing)

    async def _prepare(
        self,
        caller: Caller,
        part: Part,
        idempotency_key: str | None,
        received_at: datetime,
        faults: list[tuple[int, str | None, list[FieldFault]]],
    ) -> Prepared:
        prepared = Prepared(faults=faults)
        encoder = self._encoders[part.record_type.name]
        for start in range(0, len(part.records), _SLICE):
            if start:
                await asyncio.sleep(0)
            encoder.prepare(
                caller,
                part.records[start : start + _SLICE],
                received_at=received_at,
                idempotency_key=idempotency_key,
                positions=part.positions[start : start + _SLICE],
                into=prepared,
            )
        self.metrics.unpriced.inc(prepared.unpriced)
        return prepared


async def _all_outcomes(waiting: Sequence[Coroutine[None, None, Outcome]]) -> list[Outcome]:
    """Wait for all; when some fail, raise the first failure once no other is under way."""
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return [outcome for outcome in outcomes if isinstance(outcome, Outcome)]


def _index(fault: tuple[int, str | None, list[FieldFault]]) -> int:
    return fault[0]
