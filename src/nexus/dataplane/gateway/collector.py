"""Brings what stands in the journals of a node's gateways into ingest: the worker does, and whoever serves where there is none.

    file nobody holds --taken--> read --ingest stored all of it--> deleted
                          |
                          +--ingest cannot take records now--> let go, and taken again later

It does not matter who does it, nor how often: a file is held while it is read, and ids decide. So there is a rule only to
spare the processes that serve: they leave it to the one that has taken on the duty, unless files wait for long.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from uuid import UUID

import structlog

from nexus.contracts.calls import ApiCall
from nexus.contracts.limit_sets import LimitSet
from nexus.dataplane.gateway.duty import Duty
from nexus.dataplane.gateway.exchange import interrupted
from nexus.dataplane.gateway.journal import Begin, BeginRecords, End, Leftover, Record, clear_unfinished, leftovers
from nexus.dataplane.gateway.metrics import CollectorMetrics
from nexus.dataplane.ingest.record_type import Caller
from nexus.dataplane.ingest.service import Ingest
from nexus.kit.errors import NexusError
from nexus.platform.tasks import end_tasks

EVERY_SECONDS = 0.1
_REST = 4
"""How many times as long as a collection took to wait for the next: under load the batches grow, and cost less a call."""
_LONGEST_REST_SECONDS = 0.4
_BATCH = 5_000
"""Records that are given to ingest at once, give or take a file."""
_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 5.0

Behalf = tuple[UUID, UUID, str, UUID | None]
"""Organization, key, application and user."""
log = structlog.get_logger(__name__)


def duty_of(folder: Path) -> Duty:
    """Return the duty of collecting from a folder."""
    return Duty(folder / "collector.lock")


class Collector:
    """Collects in one process. `start` and `stop` frame its life, within that of ingest."""

    def __init__(self, ingest: Ingest, folder: Path, metrics: CollectorMetrics, *, is_ours: Callable[[], bool]) -> None:
        """`is_ours` tells, each time, whether this process is the one to collect now."""
        self._ingest = ingest
        self._folder = folder
        self._metrics = metrics
        self._is_ours = is_ours
        self._callers: dict[Behalf, Caller] = {}
        self._task: asyncio.Task[None] | None = None
        ingest.snapshots.on_change(self._forget)

    def _forget(self) -> None:
        self._callers = {}

    def start(self) -> None:
        """Begin to look for files."""
        self._task = asyncio.create_task(self._run(), name="gateway-collector")

    async def stop(self) -> None:
        """Collect what there is, as far as ingest takes it, and stop; the rest is for the next process."""
        await end_tasks(self._task)
        self._task = None
        if self._may():
            await self.collect()

    def _may(self) -> bool:
        return self._ingest.snapshots.is_loaded and self._is_ours()

    async def _run(self) -> None:
        await asyncio.to_thread(clear_unfinished, self._folder)
        wait = _FIRST_WAIT_SECONDS
        while True:
            began = time.monotonic()
            try:
                is_done = not self._may() or await self.collect()
            except Exception:
                # The edge of a task that must outlive whatever a file holds: the files are let go, and tried again.
                log.exception("the gateway's journal cannot be collected")
                is_done = False
            if is_done:
                wait = _FIRST_WAIT_SECONDS
                rest = min((time.monotonic() - began) * _REST, _LONGEST_REST_SECONDS)
                await asyncio.sleep(max(rest, EVERY_SECONDS))
            else:
                await asyncio.sleep(wait)
                wait = min(wait * 2, _LONGEST_WAIT_SECONDS)

    async def collect(self) -> bool:
        """Record what stands in the files that nobody holds; False when ingest does not take it now."""
        files = leftovers(self._folder)
        ended: set[str] = set()
        while True:
            taken: list[Leftover] = []
            count = 0
            is_stored = False
            try:
                while count < _BATCH and (file := await asyncio.to_thread(next, files, None)) is not None:
                    taken.append(file)
                    count += len(file.ended) + len(file.begun)
                    ended.update(end.id for end in file.ended)
                if not taken:
                    return True
                is_stored = await self._record(taken, ended)
            finally:
                for file in taken:
                    if is_stored:
                        file.settle()
                    else:
                        file.release()
            if not is_stored:
                return False

    async def _record(self, files: Sequence[Leftover], ended: set[str]) -> bool:
        groups: dict[Behalf, list[Record]] = {}
        limit_sets: dict[str, LimitSet] = {}
        interruptions = 0
        for file in files:
            if file.damages:
                log.error(
                    "a part of a gateway journal is damaged; the calls in it are lost",
                    file=file.path.name, damages=file.damages,
                )  # fmt: skip
            limit_sets |= file.limit_sets
            for end in file.ended:
                groups.setdefault(_behalf(end), []).extend((end.call, *end.more))
            for begin in file.begun.values():
                if begin.id not in ended:
                    groups.setdefault(_behalf(begin), []).extend(
                        begin.records if isinstance(begin, BeginRecords) else (interrupted(begin),)
                    )
                    interruptions += 1
        if not await self._store_all(groups, limit_sets):
            return False
        for calls in groups.values():
            self._metrics.collected.inc(len(calls))
            for call in calls:
                if isinstance(call, ApiCall) and call.time_to_first_byte_ms is not None:
                    self._metrics.first_byte_seconds.observe(call.time_to_first_byte_ms / 1000)
        if interruptions:
            self._metrics.interrupted.inc(interruptions)
            log.info("recorded the calls that a process was serving when it died", calls=interruptions)
        return True

    async def _caller(self, behalf: Behalf) -> Caller:
        caller = self._callers.get(behalf)
        if caller is None:
            organization_id, key_id, application, user_id = behalf
            snapshots = self._ingest.snapshots
            if organization_id not in snapshots.keys.organizations:
                # It may be younger than what this process has read.
                await snapshots.refresh()
            table = snapshots.keys
            organization = table.organizations.get(organization_id)
            caller = self._callers[behalf] = Caller(
                organization_id,
                currency=organization.currency if organization else "USD",
                tier=organization.tier if organization else "",
                key_id=key_id,
                application=application,
                user_id=user_id,
                members=table.members.get(organization_id, {}),
            )
        return caller

    async def _store(self, behalf: Behalf, calls: list[Record], limit_sets: Sequence[LimitSet]) -> bool:
        """Give calls to ingest; False when it cannot take them now."""
        caller = await self._caller(behalf)
        limit = self._ingest.limits.records
        for start in range(0, len(calls), limit):
            try:
                receipt = await self._ingest.submit(caller, calls[start : start + limit], limit_sets=limit_sets)
            except NexusError as error:
                self._metrics.deferred.labels(error.code).inc()
                log.warning("finished calls wait: ingest takes no records now", reason=error.code, calls=len(calls))
                return False
            if receipt.refused:
                # Ours to build rightly; a person must look, and the others must not wait for it.
                self._metrics.refused.inc(len(receipt.refused))
                log.error(
                    "records of forwarded calls were refused",
                    records=len(receipt.refused), first=str(receipt.refused[0].errors),
                )  # fmt: skip
        return True

    async def store(self, marks: Sequence[End], limit_sets: Mapping[str, LimitSet]) -> bool:
        """Record calls that could not be noted in a journal; False when ingest does not take all of them now."""
        groups: dict[Behalf, list[Record]] = {}
        for mark in marks:
            groups.setdefault(_behalf(mark), []).extend((mark.call, *mark.more))
        return await self._store_all(groups, limit_sets)

    async def _store_all(self, groups: Mapping[Behalf, list[Record]], limit_sets: Mapping[str, LimitSet]) -> bool:
        sets: dict[UUID, list[LimitSet]] = {}
        for limit_set in limit_sets.values():
            sets.setdefault(limit_set.organization_id, []).append(limit_set)
        stored = (self._store(behalf, calls, sets.get(behalf[0], ())) for behalf, calls in groups.items())
        return all(await asyncio.gather(*stored))


def _behalf(mark: Begin | BeginRecords | End) -> Behalf:
    return mark.organization_id, mark.key_id, mark.application, mark.user_id
