"""The recording side of a process that serves: turns its journal over, so that others can store what is in it.

Where nobody else collects on this node, it does so itself.
"""

from __future__ import annotations

import asyncio

import structlog

from nexus.contracts.limit_sets import LimitSet
from nexus.dataplane.gateway.collector import Collector, duty_of
from nexus.dataplane.gateway.journal import End, Journal
from nexus.dataplane.gateway.metrics import GatewayMetrics
from nexus.dataplane.ingest.service import Ingest
from nexus.platform.tasks import end_tasks

MAX_WAITING = 100_000
"""Finished calls that may wait for ingest; beyond it new calls are refused, as the disk is no warehouse."""
_TURN_SECONDS = 0.1
"""How long a finished call waits for others: they share a file and a transaction. Long before a person could see it."""
_PATIENCE_SECONDS = 5.0
"""Files that wait for longer are collected here, whoever has taken that on: it may be standing still."""

log = structlog.get_logger(__name__)


class Recorder:
    """The recording side of one process's gateway."""

    def __init__(self, ingest: Ingest, journal: Journal, metrics: GatewayMetrics) -> None:
        self._journal = journal
        self._metrics = metrics
        self._duty = duty_of(journal.folder)
        self._collector = Collector(ingest, journal.folder, metrics.collector, is_ours=self._is_ours)
        self._unjournaled: list[End] = []
        self._limit_sets: dict[str, LimitSet] = {}
        """Those that unjournaled calls name."""
        self._waiting = 0
        self._oldest_seconds = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def is_full(self) -> bool:
        """Whether so many calls wait that no more should begin."""
        return self._waiting >= MAX_WAITING

    def _is_ours(self) -> bool:
        return self._oldest_seconds > _PATIENCE_SECONDS or not self._duty.is_taken()

    def start(self) -> None:
        """Begin to turn the journal over, and to collect where nobody else does."""
        self._task = asyncio.create_task(self._run(), name="gateway-recorder")
        self._collector.start()

    async def stop(self) -> None:
        """Hand over what waits. What nobody takes stays in the journal for the next process."""
        await end_tasks(self._task)
        await self.turn()
        if self._unjournaled:
            log.error(
                "calls that were not in the journal are lost: ingest takes no records", calls=len(self._unjournaled)
            )
        await self._collector.stop()

    def add_unjournaled(self, mark: End, limit_set: LimitSet | None = None) -> None:
        """Take a finished call that the journal did not: it is lost if this process dies before it is stored."""
        self._unjournaled.append(mark)
        if limit_set is not None:
            self._limit_sets[limit_set.id] = limit_set

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_TURN_SECONDS)
            try:
                await self.turn()
            except Exception:
                # The edge of a task that must outlive whatever happens: without it no call is stored any more.
                log.exception("the gateway's journal was not handed over")

    async def turn(self) -> None:
        """Hand over the records that came since the last time."""
        self._metrics.publish()
        try:
            self._journal.turn_over()
        except OSError as error:
            log.error("the gateway's journal cannot be turned over", error=repr(error))
        waiting, self._oldest_seconds = self._journal.waiting()
        self._waiting = waiting + len(self._unjournaled)
        self._metrics.waiting.set(self._waiting)
        marks = list(self._unjournaled)
        if marks and await self._collector.store(marks, self._limit_sets):
            del self._unjournaled[: len(marks)]
            if not self._unjournaled:
                self._limit_sets = {}
