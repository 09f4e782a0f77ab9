"""Keeps bodies of calls where an organization wants that: a copy as they pass, masked, sealed and stored beside the calls.

    passing --call ends--> waiting --one thread: unpack, mask, seal--> ready --PostgreSQL takes them--> stored
       |                      |                                          |
       +--no room-------------+------------------------------------------+--> lost, and counted

Nothing here holds up a call or its record: what does not fit into memory is not kept. `docs/decisions/0015-bodies-of-calls.md`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol
from uuid import UUID

import structlog

from nexus.contracts.bodies import BodyRule, StoredBody, body_context, pack
from nexus.contracts.gateway import GatewayTable
from nexus.dataplane import store
from nexus.dataplane.gateway.body_text import read_text
from nexus.dataplane.gateway.captures import OVERHEAD_BYTES, Capture
from nexus.dataplane.gateway.exchange import Exchange
from nexus.dataplane.gateway.metrics import BodyMetrics
from nexus.dataplane.gateway.reading import AnswerReader
from nexus.kit.ids import uuid7_time
from nexus.kit.masking import Finder
from nexus.platform.db import DATABASE_TROUBLE, Database
from nexus.platform.sealing import Sealer

MAX_HELD_BYTES = 64 * 2**20
"""Of all bodies together that pass, wait or are ready, in one process."""
_BATCH = 32
_FIRST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 5.0
_STOP_SECONDS = 5.0
_WORK_SECONDS = 0.001
_REST_SECONDS = 0.0001

_REFUSED_CLASSES = frozenset({"22", "23"})
"""Classes of SQLSTATE that tell of the rows and not of the server."""
Body = bytes | AsyncIterator[bytes] | None

log = structlog.get_logger(__name__)


class HasGatewayTable(Protocol):
    """Whoever knows the table in force."""

    gateway: GatewayTable


class _CopyingReader(AnswerReader):
    """Reads an answer, and takes a copy of it."""

    def __init__(self, capture: Capture, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._capture = capture

    def feed(self, chunk: bytes) -> bytes:
        self._capture.add("response", chunk)
        return super().feed(chunk)


def reader_of(exchange: Exchange) -> Callable[..., AnswerReader]:
    """Return what makes the reader of an attempt's answer."""
    capture = exchange.capture
    if capture is None:
        return AnswerReader
    capture.begin("response", exchange.headers)
    return partial(_CopyingReader, capture)


class Bodies:
    """The bodies of one process's calls. `start` and `stop` frame its life."""

    def __init__(
        self, tables: HasGatewayTable, database: Database, sealer: Sealer, metrics: BodyMetrics | None = None
    ) -> None:
        self._tables = tables
        self._database = database
        self._sealer = sealer
        self.metrics = metrics or BodyMetrics()
        self._held_bytes = 0
        self._waiting: deque[tuple[UUID, UUID, Capture]] = deque()
        self._ready: deque[StoredBody] = deque()
        self._finders: dict[BodyRule, Finder] = {}
        self._came = asyncio.Event()
        self._is_stopping = False
        self._task: asyncio.Task[None] | None = None
        self._rest = _Rest()
        # One thread: however many bodies wait, calls share the processor with one search at most.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bodies")

    def start(self) -> None:
        """Begin to store."""
        self._task = asyncio.create_task(self._run(), name="gateway-bodies")

    async def stop(self) -> None:
        """Store what waits, within a few seconds; what is left then is lost."""
        self._is_stopping = True
        self._came.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_STOP_SECONDS)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._thread.shutdown(wait=False, cancel_futures=True)
        if left := len(self._waiting) + len({row.call_id for row in self._ready}):
            self.metrics.lost.labels("stopped").inc(left)
            log.warning("bodies of calls could not be stored before the process ended", calls=left)

    def hold(self, count: int) -> bool:
        """Take room for bytes; False when there is none."""
        if self._held_bytes + count > MAX_HELD_BYTES:
            return False
        self._held_bytes += count
        self.metrics.held_bytes.set(self._held_bytes)
        return True

    def release(self, count: int) -> None:
        """Give room back."""
        self._held_bytes -= count
        self.metrics.held_bytes.set(self._held_bytes)

    def begin(self, exchange: Exchange, headers: Mapping[str, str], body: Body) -> Body:
        """Look at an attempt that is about to be sent; returns the body to send, which is copied where it is wanted."""
        target = exchange.target
        rule = self._tables.gateway.bodies.get(exchange.caller.key.organization_id)
        if rule is None or not rule.wants(UUID(exchange.id), target.provider.slug):
            return body
        if not self.hold(OVERHEAD_BYTES):
            self.metrics.lost.labels("memory").inc()
            return body
        capture = exchange.capture = Capture(self, rule)
        capture.begin("request", headers)
        if isinstance(body, bytes):
            capture.add("request", body)
        elif body is not None:
            return capture.passing(body)
        return body

    def end(self, exchange: Exchange, capture: Capture) -> None:
        """Take the bodies of an attempt that ended and whose record is on its way."""
        is_failure = exchange.status_code >= 400 or exchange.status_code == 0 or bool(exchange.error_type)
        if capture.sides is None:
            return
        if capture.rule.only_failed and not is_failure:
            capture.give_up()
            return
        self._waiting.append((exchange.caller.key.organization_id, UUID(exchange.id), capture))
        self._came.set()

    async def _run(self) -> None:
        wait = _FIRST_WAIT_SECONDS
        retry_at = 0.0
        while True:
            if not self._waiting and not self._ready:
                if self._is_stopping:
                    return
                self._came.clear()
                await self._came.wait()
            if self._waiting:
                await self._prepare()
            if self._ready and (self._is_stopping or time.monotonic() >= retry_at):
                if await self._store():
                    wait = _FIRST_WAIT_SECONDS
                    continue
                if self._is_stopping:
                    return
                retry_at = time.monotonic() + wait
                wait = min(wait * 2, _LONGEST_WAIT_SECONDS)
            if self._ready and not self._waiting:
                self._came.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._came.wait(), max(0.01, retry_at - time.monotonic()))

    async def _prepare(self) -> None:
        """Turn the oldest copies into rows; what is held shrinks to what will be stored."""
        batch = [self._waiting[place] for place in range(min(_BATCH, len(self._waiting)))]
        made = await asyncio.get_running_loop().run_in_executor(self._thread, self._rows_of, batch)
        for (_, _, capture), rows in zip(batch, made, strict=True):
            self._waiting.popleft()
            if rows is None:
                capture.give_up("fault")
                continue
            capture.give_up()
            if self.hold(sum(map(_size_of, rows))):
                self._ready.extend(rows)
            else:
                self.metrics.lost.labels("memory").inc()

    def _rows_of(self, batch: list[tuple[UUID, UUID, Capture]]) -> list[list[StoredBody] | None]:
        """Return the rows of each call, None where there was a fault; in the thread."""
        made: list[list[StoredBody] | None] = []
        for organization_id, call_id, capture in batch:
            try:
                made.append(self._rows(organization_id, call_id, capture))
            except Exception:
                # The edge of a task that must outlive whatever a body holds.
                log.exception("a body of a call could not be masked and is not kept", call_id=str(call_id))
                made.append(None)
        return made

    def _rows(self, organization_id: UUID, call_id: UUID, capture: Capture) -> list[StoredBody]:
        key_at = uuid7_time(call_id)
        assert key_at is not None
        rule = capture.rule
        finder = self._finder(rule)
        rows: list[StoredBody] = []
        for side, kept in (capture.sides or {}).items():
            read = read_text(
                bytes(kept.held), is_cut=kept.is_cut, media_type=kept.media_type, encoding=kept.encoding,
                max_bytes=rule.max_bytes, finder=finder, rest=self._rest,
            )  # fmt: skip
            sealed = None
            if read.state == "text":
                sealed = self._sealer.seal(pack(read.text), body_context(organization_id, call_id, side))
            media_type = kept.media_type.replace("\x00", "").encode("utf-8", "replace").decode()[:200]
            rows.append(
                StoredBody(
                    organization_id,
                    key_at,
                    call_id,
                    side,
                    read.state,
                    media_type,
                    kept.size,
                    read.is_cut,
                    read.masked,
                    sealed,
                )
            )
        return rows

    def _finder(self, rule: BodyRule) -> Finder:
        finder = self._finders.get(rule)
        if finder is None:
            if len(self._finders) > 1000:
                self._finders.clear()
            finder = self._finders[rule] = Finder(rule.masks, fields=rule.fields, words=rule.words)
        return finder

    async def _store(self) -> bool:
        """Store what is ready, the oldest first; False when PostgreSQL does not take it now."""
        while self._ready:
            rows = [self._ready[place] for place in range(min(_BATCH, len(self._ready)))]
            try:
                async with self._database.as_writer(sorted({row.organization_id for row in rows})) as connection:
                    await store.store_call_bodies(connection, rows)
            except DATABASE_TROUBLE as error:
                if str(getattr(error, "sqlstate", ""))[:2] not in _REFUSED_CLASSES:
                    log.warning(
                        "bodies of calls wait: PostgreSQL does not take them",
                        error=repr(error),
                        bodies=len(self._ready),
                    )
                    return False
                # They would be refused again, and all others would wait behind them.
                log.exception("bodies of calls were refused and are not kept", bodies=len(rows))
                self.metrics.lost.labels("refused").inc(len({row.call_id for row in rows}))
            else:
                for row in rows:
                    self.metrics.stored.labels(row.side).inc()
            for row in rows:
                self._ready.popleft()
                self.release(_size_of(row))
        return True


def _size_of(row: StoredBody) -> int:
    return OVERHEAD_BYTES + len(row.sealed or b"")


class _Rest:
    """Lets the calls have the interpreter after each bit of work: they would wait for a whole search otherwise."""

    def __init__(self) -> None:
        self._worked_until = 0.0

    def __call__(self) -> None:
        now = time.thread_time()
        if now - self._worked_until > _WORK_SECONDS:
            time.sleep(_REST_SECONDS)
            self._worked_until = now
