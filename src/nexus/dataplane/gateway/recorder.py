"""Brings finished calls from the journal into ingest, in batches, beside the calls themselves; adopts what the dead left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

import structlog

from nexus.contracts.calls import ApiCall
from nexus.contracts.keys import KeyEntry
from nexus.dataplane.gateway.exchange import interrupted
from nexus.dataplane.gateway.journal import Journal, JournalFile, Leftover
from nexus.dataplane.gateway.metrics import GatewayMetrics
from nexus.dataplane.ingest.record_type import Caller
from nexus.dataplane.ingest.service import Ingest
from nexus.kit.errors import NexusError
from nexus.platform.tasks import end_tasks

MAX_WAITING = 100_000
"""Finished calls that may wait for ingest; beyond it new calls are refused, as more could not be remembered."""
_BATCH = 2_000
_GATHER_SECONDS = 0.05
"""How long a finished call waits for others: they share one transaction. Long before a person could see it."""
_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 5.0
_LEFTOVERS_SECONDS = 2.0

log = structlog.get_logger(__name__)


class Recorder:
    """The recording side of one process's gateway."""

    def __init__(self, ingest: Ingest, journal: Journal, metrics: GatewayMetrics) -> None:
        self._ingest = ingest
        self._journal = journal
        self._metrics = metrics
        self._waiting: list[tuple[KeyEntry, ApiCall, JournalFile | None]] = []
        self._came = asyncio.Event()
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None
        self._leftovers: asyncio.Task[None] | None = None

    @property
    def is_full(self) -> bool:
        """Whether so many calls wait that no more should begin."""
        return len(self._waiting) >= MAX_WAITING

    def start(self) -> None:
        """Begin to record, and to look for journals of processes that died."""
        self._task = asyncio.create_task(self._run(), name="gateway-recorder")
        self._leftovers = asyncio.create_task(self._adopt_for_ever(), name="gateway-leftovers")

    async def stop(self) -> None:
        """Record what waits, as far as ingest takes it; the rest stays in the journal for the next process."""
        await end_tasks(self._leftovers)
        self._is_stopping = True
        self._came.set()
        if self._task is not None:
            await self._task

    def add(self, key: KeyEntry, call: ApiCall, file: JournalFile | None) -> None:
        """Take a finished call. Its mark is in the journal already."""
        self._waiting.append((key, call, file))
        self._came.set()

    async def _run(self) -> None:
        wait = _FIRST_WAIT_SECONDS
        while True:
            if not self._waiting:
                if self._is_stopping:
                    return
                self._came.clear()
                await self._came.wait()
                await asyncio.sleep(_GATHER_SECONDS)
                continue
            self._metrics.publish()
            batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            self._metrics.waiting.set(len(self._waiting))
            unstored = await self._submit(batch)
            if not unstored:
                wait = _FIRST_WAIT_SECONDS
                continue
            self._waiting = unstored + self._waiting
            if self._is_stopping:
                log.warning("calls stay in the journal for the next process", calls=len(self._waiting))
                return
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT_SECONDS)

    async def _submit(
        self, batch: Sequence[tuple[KeyEntry, ApiCall, JournalFile | None]]
    ) -> list[tuple[KeyEntry, ApiCall, JournalFile | None]]:
        by_key: dict[UUID, list[tuple[KeyEntry, ApiCall, JournalFile | None]]] = {}
        for item in batch:
            by_key.setdefault(item[0].id, []).append(item)
        groups = list(by_key.values())
        results = await asyncio.gather(
            *(self._store(self._caller(group[0][0]), [call for _, call, _ in group]) for group in groups)
        )
        unstored: list[tuple[KeyEntry, ApiCall, JournalFile | None]] = []
        for group, is_stored in zip(groups, results, strict=True):
            if not is_stored:
                unstored += group
                continue
            for _, _, file in group:
                if file is not None:
                    self._journal.stored(file)
        return unstored

    def _caller(self, key: KeyEntry) -> Caller:
        return self._caller_by_ids(key.organization_id, key.id, key)

    def _caller_by_ids(self, organization_id: UUID, key_id: UUID, key: KeyEntry | None = None) -> Caller:
        table = self._ingest.snapshots.keys
        if key is None:
            key = next((item for item in table.keys.values() if item.id == key_id), None)
        organization = table.organizations.get(organization_id)
        if key is not None and organization is not None:
            return self._ingest.caller_of(key)
        # The key, or the organization, ended while the call ran: the call was made all the same.
        return Caller(
            organization_id,
            organization.currency if organization else "USD",
            organization.tier if organization else "",
            key_id=key_id,
        )

    async def _store(self, caller: Caller, calls: list[ApiCall]) -> bool:
        """Give calls to ingest; False when it cannot take them now."""
        limit = self._ingest.limits.records
        for start in range(0, len(calls), limit):
            try:
                receipt = await self._ingest.submit(caller, calls[start : start + limit])
            except NexusError as error:
                self._metrics.deferred.labels(error.code).inc()
                log.warning("finished calls wait: ingest takes no records now", reason=error.code, calls=len(calls))
                return False
            if receipt.refused:
                # Ours to build rightly; a person must look, and the others must not wait for it.
                self._metrics.refused.inc(len(receipt.refused))
                log.error(
                    "records of forwarded calls were refused",
                    records=len(receipt.refused),
                    first=str(receipt.refused[0].errors),
                )
        return True

    async def _adopt_for_ever(self) -> None:
        await asyncio.to_thread(self._journal.clear_drafts)
        while True:
            if self._ingest.snapshots.is_loaded:
                await self.adopt()
            await asyncio.sleep(_LEFTOVERS_SECONDS)

    async def adopt(self) -> int:
        """Record what processes that died left in their journals; returns how many calls that were."""
        count = 0
        leftovers = self._journal.leftovers()
        while (leftover := await asyncio.to_thread(next, leftovers, None)) is not None:
            is_stored = False
            try:
                is_stored = await self._adopt(leftover)
            finally:
                if is_stored:
                    self._journal.settle(leftover)
                else:
                    self._journal.release(leftover)
            if not is_stored:
                break
            count += len(leftover.ended) + len(leftover.begun)
        return count

    async def _adopt(self, leftover: Leftover) -> bool:
        if leftover.damages:
            log.error(
                "a part of a gateway journal is damaged; the calls in it are lost",
                file=leftover.path.name,
                damages=leftover.damages,
            )
        groups: dict[tuple[UUID, UUID], list[ApiCall]] = {}
        for end in leftover.ended:
            groups.setdefault((end.organization_id, end.key_id), []).append(end.call)
        for begin in leftover.begun.values():
            groups.setdefault((begin.organization_id, begin.key_id), []).append(interrupted(begin))
        for (organization_id, key_id), calls in groups.items():
            if not await self._store(self._caller_by_ids(organization_id, key_id), calls):
                return False
        if groups:
            self._metrics.adopted.inc(sum(map(len, groups.values())))
            self._metrics.interrupted.inc(len(leftover.begun))
            log.info(
                "recorded what a process that died left",
                file=leftover.path.name,
                ended=len(leftover.ended),
                interrupted=len(leftover.begun),
            )
        return True
