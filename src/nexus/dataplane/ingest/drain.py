"""Brings spooled rows into PostgreSQL when it is back: this process's own, and those of processes that died.

    idle --a segment nobody holds, PostgreSQL answers--> adopt --> commit group by group --> delete --> idle
                                                           |
                                                           +--trouble--> release; it is adopted again later

A crash in between repeats rows: their ids decide. What cannot be stored (damaged frames, rows that PostgreSQL refuses)
was acknowledged, so it is kept in quarantine, logged as an error and counted. A file of refused rows is a segment like
any other: moved back into the spool's folder it is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator, Sequence
from uuid import UUID

import structlog

from nexus.dataplane.ingest.commit import DatabaseTroubleError, RecordStore
from nexus.dataplane.ingest.metrics import IngestMetrics
from nexus.dataplane.ingest.record_type import RowType
from nexus.dataplane.ingest.record_types import ROW_TYPES
from nexus.dataplane.ingest.rows import rearrange
from nexus.dataplane.ingest.segments import Frame, encode_frame, encode_preamble
from nexus.dataplane.ingest.spool import Adopted, Spool
from nexus.dataplane.ingest.writer import Batch, Writer
from nexus.platform.tasks import end_tasks

_FIRST_WAIT_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 2.0

log = structlog.get_logger(__name__)


class Drain:
    """The draining side of one process's spool."""

    def __init__(
        self,
        writer: Writer,
        store: RecordStore,
        spool: Spool,
        metrics: IngestMetrics,
        *,
        batch_rows: int,
        idle_seconds: float = 1.0,
    ) -> None:
        self._writer = writer
        self._store = store
        self._spool = spool
        self._metrics = metrics
        self._batch_rows = batch_rows
        self._idle_seconds = idle_seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look for segments."""
        self._task = asyncio.create_task(self._run(), name="ingest-drain")

    async def stop(self) -> None:
        """Stop where it is: a segment that is not done stays where it is."""
        await end_tasks(self._task)
        self._task = None

    async def _run(self) -> None:
        wait = _FIRST_WAIT_SECONDS
        await asyncio.to_thread(self._spool.clear_drafts)
        while True:
            try:
                is_done = await self.run_once()
            except OSError as error:
                # A full disk can refuse the quarantine too; then the segment stays.
                log.error("the spool cannot be drained", error=repr(error))
                is_done = False
            except Exception:
                # The edge of a task that must outlive whatever a segment holds: it stays, and is tried again.
                log.exception("the spool cannot be drained")
                is_done = False
            if is_done:
                wait = _FIRST_WAIT_SECONDS
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._writer.went_away.wait(), self._idle_seconds)
            else:
                await asyncio.sleep(wait)
                wait = min(wait * 2, _LONGEST_WAIT_SECONDS)

    async def run_once(self) -> bool:
        """Drain all there is. False when PostgreSQL is away and it should be tried again soon."""
        writer, spool = self._writer, self._spool
        self._metrics.spool_bytes.set(await asyncio.to_thread(spool.size_bytes))
        self._metrics.quarantine_bytes.set(await asyncio.to_thread(spool.quarantine_bytes))
        if writer.is_away:
            try:
                await self._store.probe()
            except DatabaseTroubleError:
                return False
            writer.went_away.clear()
            writer.set_away(is_away=False)
            log.info("PostgreSQL is back: records are committed again")
        # In the writer's thread, so that it never comes between an append and its sync.
        await asyncio.get_running_loop().run_in_executor(writer.spool_thread, spool.seal)
        segments = spool.adopt()
        while True:
            segment = await asyncio.to_thread(next, segments, None)
            if segment is None:
                return True
            is_dropped = False
            try:
                await self._drain(segment)
                await asyncio.to_thread(spool.drop, segment)
                is_dropped = True
            except DatabaseTroubleError as error:
                log.warning("draining stopped: PostgreSQL is away", error=str(error))
                writer.set_away(is_away=True)
                return False
            finally:
                if not is_dropped:
                    spool.release(segment)
            self._metrics.spool_bytes.set(await asyncio.to_thread(spool.size_bytes))

    async def _drain(self, segment: Adopted) -> None:
        if segment.torn_bytes:
            self._metrics.torn.inc(segment.torn_bytes)
            log.info(
                "a torn, never acknowledged tail was discarded", segment=segment.path.name, bytes=segment.torn_bytes
            )
        for damage in segment.damages:
            name = f"{segment.path.stem}-{damage.offset}.damaged"
            await asyncio.to_thread(self._spool.quarantine, name, damage.content)
            self._metrics.damaged.inc()
            log.error("a part of the spool is damaged and was put in quarantine", file=name, reason=damage.reason)
        record_type = ROW_TYPES.get(segment.type_name)
        if record_type is None:
            await self._keep_unknown(segment)
            return
        for number, group in enumerate(self._groups(segment, record_type)):
            outcomes = await self._writer.commit(group, max_poisoned=2**31)
            for index, (batch, outcome) in enumerate(zip(group, outcomes, strict=True)):
                self._metrics.drained.inc(len(batch.rows) - len(outcome.left_out))
                self._writer.report_stored(batch, outcome)
                if outcome.left_out:
                    name = f"{segment.path.stem}-{number}-{index}.spool"
                    await asyncio.to_thread(
                        self._spool.quarantine, name, _refused_rows(batch, sorted(outcome.left_out))
                    )
                    self._metrics.quarantined.inc(len(outcome.left_out))
                    reason = next(iter(outcome.left_out.values()))
                    log.error(
                        "acknowledged records are in quarantine",
                        file=name,
                        records=len(outcome.left_out),
                        reason=reason,
                    )

    async def _keep_unknown(self, segment: Adopted) -> None:
        """Keep records of a type that this release does not know: a newer one wrote them, and can drain them."""
        count = sum(len(frame.rows) for frame in segment.frames)
        if not count:
            return
        await asyncio.to_thread(
            self._spool.quarantine, segment.path.name, await asyncio.to_thread(segment.path.read_bytes)
        )
        self._metrics.quarantined.inc(count)
        log.error(
            "acknowledged records of an unknown type are in quarantine",
            file=segment.path.name,
            type=segment.type_name,
            records=count,
        )

    def _groups(self, segment: Adopted, record_type: RowType) -> Iterator[list[Batch]]:
        group: list[Batch] = []
        count = 0
        for frame in segment.frames:
            rows: Sequence[bytes] = frame.rows
            if segment.columns != record_type.columns:
                rows = list(rearrange(rows, segment.columns, record_type.column_types, record_type.not_null))
            if group and count + len(rows) > self._batch_rows:
                yield group
                group, count = [], 0
            future = asyncio.get_running_loop().create_future()
            group.append(Batch(record_type, UUID(bytes=frame.organization_id), rows, set(frame.days), future))
            count += len(rows)
        if group:
            yield group


def _refused_rows(batch: Batch, indices: Sequence[int]) -> bytes:
    frame = Frame(batch.organization_id.bytes, sorted(batch.days), [batch.rows[index] for index in indices])
    record_type = batch.record_type
    preamble = encode_preamble(
        record_type.columns, created_at_us=0, process_id=os.getpid(), record_type=record_type.name
    )
    return preamble + encode_frame(frame)
