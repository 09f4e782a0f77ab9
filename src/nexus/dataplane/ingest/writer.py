"""Group commit: batches of several callers and one type are stored in one transaction and acknowledged together.

    waiting --N rows, or M ms after the first--> committing --committed--> acknowledged (durability "committed")
                                                    |
                                                    +--PostgreSQL refuses a row--> bisected: the row is refused by
                                                    |                              index, its neighbours are stored
                                                    +--PostgreSQL away, or the outcome unknown--> synced in the spool
                                                       --> acknowledged (durability "spooled")

While PostgreSQL is away batches go to the spool at once; the drain finds out when it is back. One commit is in flight
at a time, so a batch that comes in waits for no more than one other.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Literal
from uuid import UUID

import structlog

from nexus.dataplane.ingest.commit import DatabaseTroubleError, PoisonedRowsError, RecordStore
from nexus.dataplane.ingest.metrics import IngestMetrics
from nexus.dataplane.ingest.record_type import RowType
from nexus.dataplane.ingest.segments import Frame
from nexus.dataplane.ingest.spool import Spool
from nexus.dataplane.store import Stored
from nexus.kit.errors import FieldFault, NexusError, TooManyRequests, Unavailable

# Beyond this many rows that PostgreSQL refuses in one batch the fault is not the rows', and looking further costs more.
MAX_POISONED = 100
_ORGANIZATION_SHARE = 0.8

log = structlog.get_logger(__name__)


class QueueFull(Unavailable):
    """More records are waiting to be stored than the service takes: send them again in a moment."""

    code = "ingest_queue_full"


class ShareFull(TooManyRequests):
    """Your organization has as many records waiting as one may: send them again in a moment."""

    code = "ingest_share_full"


class Stopping(Unavailable):
    """The service is stopping: send the records again in a moment."""

    code = "stopping"


@dataclass(slots=True)
class Outcome:
    """What became of a batch."""

    durability: Literal["committed", "spooled"]
    duplicates: int = 0
    poisoned: dict[int, str] = field(default_factory=dict)
    """Rows PostgreSQL refused, by their index in the batch, with its reason."""
    refused: dict[int, FieldFault] = field(default_factory=dict)
    """Rows that may not be stored, by their index in the batch, with why."""

    @property
    def left_out(self) -> dict[int, str]:
        """Rows that are not stored, by their index in the batch, with why."""
        return self.poisoned | {index: fault.message for index, fault in self.refused.items()}


@dataclass(slots=True, eq=False)
class Batch:
    """Rows of one caller and one type, to be stored and acknowledged together."""

    record_type: RowType
    organization_id: UUID
    rows: Sequence[bytes]
    days: set[int]
    acknowledged: asyncio.Future[Outcome]
    enqueued_at: float = 0.0


class Writer:
    """Queue, group commit and spool of one process."""

    def __init__(
        self,
        store: RecordStore,
        spool: Spool,
        metrics: IngestMetrics,
        *,
        batch_rows: int,
        batch_delay_ms: int,
        queue_rows: int,
        on_stored: Callable[[UUID, int], None] = lambda organization_id, count: None,
    ) -> None:
        self._store = store
        self._spool = spool
        self._metrics = metrics
        self._batch_rows = batch_rows
        self._batch_delay_seconds = batch_delay_ms / 1000
        self._queue_rows = queue_rows
        self._on_stored = on_stored
        self._queue: deque[Batch] = deque()
        self._waiting_rows = 0
        self._waiting_by_organization: dict[UUID, int] = {}
        self._came = asyncio.Event()
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None
        # One thread: appends come one after the other, and their order is the order of the segments.
        self.spool_thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self.is_away = False
        """Whether PostgreSQL is thought to be away, so that batches go to the spool at once."""
        self.went_away = asyncio.Event()

    def start(self) -> None:
        """Begin to commit."""
        self._task = asyncio.create_task(self._run(), name="ingest-writer")

    async def stop(self) -> None:
        """Take no more batches, and return when those that wait are committed or spooled."""
        self._is_stopping = True
        self._came.set()
        if self._task is None:
            return
        await self._task
        self._task = None
        await asyncio.get_running_loop().run_in_executor(self.spool_thread, self._spool.seal)
        self.spool_thread.shutdown(wait=False)

    @property
    def is_alive(self) -> bool:
        """Whether batches are being taken."""
        return self._task is not None and not self._task.done() and not self._is_stopping

    @property
    def waiting_rows(self) -> int:
        """Rows that wait for a commit."""
        return self._waiting_rows

    def admit(self, organization_id: UUID, count: int) -> None:
        """Raise `QueueFull` or `ShareFull` when so many rows cannot wait now, `Stopping` when no more may come."""
        if self._is_stopping:
            raise Stopping(retry_after_seconds=1)
        if self._waiting_rows and self._waiting_rows + count > self._queue_rows:
            self._metrics.turned_away.labels("queue_full").inc()
            raise QueueFull(retry_after_seconds=1)
        mine = self._waiting_by_organization.get(organization_id, 0)
        if mine and mine + count > self._queue_rows * _ORGANIZATION_SHARE:
            self._metrics.turned_away.labels("share_full").inc()
            raise ShareFull(retry_after_seconds=1)

    async def submit(
        self, record_type: RowType, organization_id: UUID, rows: Sequence[bytes], days: set[int]
    ) -> Outcome:
        """Store rows and return when they are committed or synced in the spool; else raise what to tell the caller."""
        self.admit(organization_id, len(rows))
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        # Should the caller hang up, nobody asks for an error any more; that is no fault.
        future.add_done_callback(_retrieve)
        batch = Batch(record_type, organization_id, rows, days, future, time.monotonic())
        self._queue.append(batch)
        self._count(batch, len(rows))
        self._came.set()
        # A caller that hangs up does not take its rows back: they are on their way.
        return await asyncio.shield(future)

    def _count(self, batch: Batch, change: int) -> None:
        self._waiting_rows += change
        mine = self._waiting_by_organization.get(batch.organization_id, 0) + change
        if mine:
            self._waiting_by_organization[batch.organization_id] = mine
        else:
            self._waiting_by_organization.pop(batch.organization_id, None)
        self._metrics.queue_rows.set(self._waiting_rows)

    async def _run(self) -> None:
        while True:
            batches = await self._collect()
            if not batches:
                return
            try:
                for group in _by_type(batches):
                    await self._settle_safely(group)
            finally:
                for batch in batches:
                    self._count(batch, -len(batch.rows))

    async def _settle_safely(self, batches: list[Batch]) -> None:
        try:
            await self._settle(batches)
        except Exception as error:
            # The edge of this process's only writer: it must go on for the others, and these callers must know.
            log.exception("a group commit failed in an unforeseen way")
            for batch in batches:
                _fail(batch, Unavailable(retry_after_seconds=2, cause=type(error).__name__))

    async def _collect(self) -> list[Batch]:
        """Wait for the first batch, then for N rows or M ms. Empty when stopping and nothing is left."""
        while not self._queue:
            if self._is_stopping:
                return []
            self._came.clear()
            await self._came.wait()
        deadline = self._queue[0].enqueued_at + self._batch_delay_seconds
        while not self._is_stopping and sum(len(batch.rows) for batch in self._queue) < self._batch_rows:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._came.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._came.wait(), left)
        batches = [self._queue.popleft()]
        count = len(batches[0].rows)
        while self._queue and count + len(self._queue[0].rows) <= self._batch_rows:
            batches.append(self._queue.popleft())
            count += len(batches[-1].rows)
        return batches

    async def _settle(self, batches: list[Batch]) -> None:
        if not self.is_away:
            try:
                outcomes = await self.commit(batches)
            except DatabaseTroubleError as error:
                log.warning("PostgreSQL is away: records go to the spool", error=str(error))
                self._metrics.commits.labels("trouble").inc()
                self.set_away(is_away=True)
            else:
                for batch, outcome in zip(batches, outcomes, strict=True):
                    self.report_stored(batch, outcome)
                    if not batch.acknowledged.done():
                        batch.acknowledged.set_result(outcome)
                return
        frames = [Frame(batch.organization_id.bytes, sorted(batch.days), list(batch.rows)) for batch in batches]
        try:
            append = partial(self._spool.append, batches[0].record_type, frames)
            await asyncio.get_running_loop().run_in_executor(self.spool_thread, append)
        except Unavailable as error:
            log.error("the spool refuses records: callers are turned away", code=error.code, error=error.detail)
            for batch in batches:
                self._metrics.turned_away.labels(error.code).inc()
                _fail(batch, error)
            return
        for batch in batches:
            self._metrics.spooled.inc(len(batch.rows))
            if not batch.acknowledged.done():
                batch.acknowledged.set_result(Outcome("spooled"))

    def report_stored(self, batch: Batch, outcome: Outcome) -> None:
        """Tell those who watch the organization that records were stored."""
        stored = len(batch.rows) - outcome.duplicates - len(outcome.left_out)
        if stored and batch.record_type.is_record:
            self._on_stored(batch.organization_id, stored)

    def set_away(self, *, is_away: bool) -> None:
        """Note that PostgreSQL went away or is back."""
        self.is_away = is_away
        self._metrics.is_spooling.set(is_away)
        if is_away:
            self.went_away.set()

    async def commit(self, batches: Sequence[Batch], *, max_poisoned: int = MAX_POISONED) -> list[Outcome]:
        """Commit batches of one type together; what of them cannot be is taken apart until the poisoned rows are found."""
        try:
            stored = await self._commit_rows(batches, [row for batch in batches for row in batch.rows])
        except PoisonedRowsError as error:
            if len(batches) > 1:
                middle = len(batches) // 2
                first = await self.commit(batches[:middle], max_poisoned=max_poisoned)
                return first + await self.commit(batches[middle:], max_poisoned=max_poisoned)
            return [await self._bisect(batches[0], str(error), max_poisoned)]
        outcomes = [Outcome("committed") for _ in batches]
        ends: list[int] = []
        end = 0
        for batch in batches:
            end += len(batch.rows)
            ends.append(end)
        for ordinal in stored.duplicates:
            outcomes[bisect_right(ends, ordinal)].duplicates += 1
        for ordinal, fault in stored.refused.items():
            place = bisect_right(ends, ordinal)
            outcomes[place].refused[ordinal - (ends[place] - len(batches[place].rows))] = fault
        return outcomes

    async def _commit_rows(self, batches: Sequence[Batch], rows: list[bytes]) -> Stored:
        organizations = {batch.organization_id for batch in batches}
        days = set().union(*(batch.days for batch in batches))
        started = time.perf_counter()
        stored = await self._store.commit(batches[0].record_type, organizations, days, rows)
        self._metrics.commit_seconds.observe(time.perf_counter() - started)
        self._metrics.commit_rows.observe(len(rows))
        self._metrics.commits.labels("committed").inc()
        if batches[0].record_type.is_record:
            self._metrics.stored.inc(len(rows) - len(stored.duplicates) - len(stored.refused))
            self._metrics.duplicates.inc(len(stored.duplicates))
        return stored

    async def _bisect(self, batch: Batch, reason: str, max_poisoned: int) -> Outcome:
        """Store the good rows of a batch that PostgreSQL refused, and name the bad ones."""
        outcome = Outcome("committed")
        # Halves in the order of the rows, so that of two rows with one id the earlier is stored.
        parts: list[tuple[int, int]] = [(0, len(batch.rows))]
        is_first = True
        while parts:
            first, last = parts.pop()
            if len(outcome.poisoned) >= max_poisoned:
                untold = f"not stored, as PostgreSQL refused too many of its neighbours ({reason}): send it again"
                outcome.poisoned.update(dict.fromkeys(range(first, last), untold))
                continue
            try:
                if is_first and last - first > 1:
                    # It was refused as a whole just now.
                    raise PoisonedRowsError(reason)
                stored = await self._commit_rows([batch], list(batch.rows[first:last]))
                outcome.duplicates += len(stored.duplicates)
                outcome.refused.update({first + index: fault for index, fault in stored.refused.items()})
            except PoisonedRowsError as error:
                reason = str(error)
                if last - first == 1:
                    outcome.poisoned[first] = f"PostgreSQL refuses it: {reason}"
                    self._metrics.poisoned.inc()
                    log.error("a well-formed record was refused by PostgreSQL", reason=reason)
                else:
                    middle = (first + last) // 2
                    parts += [(middle, last), (first, middle)]
            finally:
                is_first = False
        return outcome


def _by_type(batches: list[Batch]) -> list[list[Batch]]:
    """Return batches in groups of one type each: a group is one transaction."""
    groups: dict[str, list[Batch]] = {}
    for batch in batches:
        groups.setdefault(batch.record_type.name, []).append(batch)
    return list(groups.values())


def _retrieve(future: asyncio.Future[Outcome]) -> None:
    if not future.cancelled():
        future.exception()


def _fail(batch: Batch, error: NexusError) -> None:
    if not batch.acknowledged.done():
        batch.acknowledged.set_exception(error)
