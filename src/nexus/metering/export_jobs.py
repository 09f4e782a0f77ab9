"""Background work: tells an OpenTelemetry collector what went through the gateways, from what was stored. Off unless told where.

A call is noted in the transaction that stores it and forgotten in the one in which the collector took it: every call is sent,
at times twice. Nothing waits for the collector but this work.
"""

from __future__ import annotations

import gzip
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import unquote

import aiohttp
import structlog
from prometheus_client import Counter

from nexus.kit.clock import SYSTEM_CLOCK
from nexus.metering import store
from nexus.metering.export_sources import CALLS, Source
from nexus.platform.db import Database
from nexus.platform.settings import Settings

BATCH = 500
"""Calls of one request."""
BATCHES_OF_A_RUN = 40
MOST_WAITING = 1_000_000
"""Calls of each kind that may wait while the collector is away; the oldest beyond are forgotten, and counted."""
_TIMEOUT_SECONDS = 10.0
_RETRIED = frozenset({408, 429, 502, 503, 504})
_SENT = Counter("nexus_otlp_export_calls", "Calls an OpenTelemetry collector was told of, by outcome.", ("outcome",))

log = structlog.get_logger(__name__)


class CollectorAwayError(Exception):
    """The collector cannot take anything now."""


def headers_in(text: str) -> dict[str, str]:
    """Read `OTEL_EXPORTER_OTLP_HEADERS`: `name=value` by commas, percent-encoded."""
    pairs = (part.partition("=") for part in text.split(","))
    return {
        unquote(name.strip()).lower(): unquote(value.strip())
        for name, equals, value in pairs
        if equals and name.strip()
    }


class CallExporter:
    """Sends what waits, each time it is called."""

    def __init__(
        self, endpoint: str | None, headers: str | None = None, *, sources: Sequence[Source] = (CALLS,)
    ) -> None:
        self._endpoint = endpoint.rstrip("/") if endpoint else ""
        self._headers = headers_in(headers or "") | {
            "content-type": "application/x-protobuf", "content-encoding": "gzip",
        }  # fmt: skip
        self._sources = sources
        self._is_on: bool | None = None

    async def __call__(self, database: Database) -> int:
        """Send waiting calls; returns how many. `CollectorAwayError` when it should be tried again later."""
        if not await self._switch(database):
            return 0
        total = 0
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session:
            for source in self._sources:
                total += await self._tell(database, session, source)
        return total

    async def _tell(self, database: Database, session: aiohttp.ClientSession, source: Source) -> int:
        """Send what waits of one kind; returns how many."""
        async with database.as_system() as connection:
            forgotten = await store.forget_calls_to_export(connection, source.record_type, MOST_WAITING)
        _SENT.labels("forgotten").inc(forgotten)
        total = 0
        for _ in range(BATCHES_OF_A_RUN):
            async with database.as_system() as connection:
                waiting = await source.waiting(connection, BATCH)
                if not waiting:
                    break
                # Those taken back since they were noted have nothing to tell.
                calls = [call for call in waiting if call["occurred_at"] is not None]
                if calls:
                    await self._send(session, source, calls)
                await store.delete_calls_to_export(connection, source.record_type, waiting)
            total += len(calls)
        return total

    async def _switch(self, database: Database) -> bool:
        """Have calls noted, or no longer; tells which."""
        wanted = bool(self._endpoint)
        if self._is_on is not wanted:
            async with database.as_system() as connection:
                if wanted:
                    await store.begin_call_export(connection, SYSTEM_CLOCK.now())
                else:
                    await store.end_call_export(connection)
            self._is_on = wanted
        return wanted

    async def _send(self, session: aiohttp.ClientSession, source: Source, calls: Sequence[Any]) -> None:
        outcome = "sent"
        bodies = {"traces": source.spans_of(calls), "metrics": source.metrics_of(calls, SYSTEM_CLOCK.now())}
        for path, body in bodies.items():
            try:
                async with session.post(f"{self._endpoint}/v1/{path}", data=gzip.compress(body, 1)) as answer:
                    status = answer.status
            except (aiohttp.ClientError, TimeoutError) as error:
                raise CollectorAwayError(f"the collector does not answer: {type(error).__name__}") from error
            if status in _RETRIED:
                raise CollectorAwayError(f"the collector answered {status}")
            if status >= 400:
                # It will say so again, whatever the time: what it refuses does not hold up the rest.
                log.warning("the collector refuses telemetry", signal=path, status=status, calls=len(calls))
                outcome = "refused" if path == "traces" else outcome
        _SENT.labels(outcome).inc(len(calls))


def export_jobs(
    settings: Settings, sources: Sequence[Source]
) -> list[tuple[str, float, Callable[[Database], Awaitable[object]]]]:
    """Return the work, with its pause in seconds."""
    export = CallExporter(settings.otlp_endpoint, settings.otlp_headers, sources=sources)
    return [("metering.export_calls", 2.0, export)]
