"""`/otlp/v1/traces`, `/otlp/v1/metrics` and `/otlp/v1/logs` as a bare ASGI application, as the OTLP/HTTP specification says.

An answer, and an error too, has the type of its request. What was taken is answered with 200 even where single spans,
points or log records were refused (`partial_success`); 400 and 413 tell the exporter to give up, 429 and 503 to come again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Counter

from nexus.contracts.calls import ApiCall
from nexus.contracts.error_records import ErrorRecord
from nexus.contracts.keys import KeyEntry
from nexus.contracts.mcp_requests import McpRequest
from nexus.contracts.metric_records import MetricRecord
from nexus.contracts.tool_calls import ToolCall
from nexus.dataplane.decide.asgi import refusal
from nexus.dataplane.decide.own_limits import OwnLimits
from nexus.dataplane.http import (
    Answer,
    HungUpError,
    NotLoaded,
    OnUse,
    Receive,
    Scope,
    Send,
    authenticate,
    encoded_headers,
    ignore_use,
    read_body,
    read_headers,
    send_answer,
)
from nexus.dataplane.ingest.decode import UnknownMediaType, decompress, encoding_of
from nexus.dataplane.ingest.held import HeldBytes
from nexus.dataplane.ingest.otlp import json_form, protobuf
from nexus.dataplane.ingest.otlp.exceptions import read_errors
from nexus.dataplane.ingest.otlp.hosts import Hosts
from nexus.dataplane.ingest.otlp.metrics import read_metrics
from nexus.dataplane.ingest.otlp.model import DataPoint, LogRecord, Span
from nexus.dataplane.ingest.otlp.spans import Reporter, describe, read_calls
from nexus.dataplane.ingest.service import Ingest
from nexus.kit.errors import NexusError, NotFound
from nexus.kit.ids import uuid7
from nexus.platform.web.problems import InternalError, MethodNotAllowed

PREFIX = "/otlp/"
SCOPE = "events:write"
MAX_BODY_BYTES = 64 * 2**20
"""Of one request, after decompression: the specification's figure."""
# Reading less than this takes less time than handing it to a thread.
_THREAD_FROM_BYTES = 64 * 1024
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 413: 8, 415: 3, 422: 3, 429: 8, 500: 13, 503: 14}
"""Codes of `google.rpc.Code` for our statuses."""

log = structlog.get_logger(__name__)


class OtlpMetrics:
    """What the receiver counts of itself: each span is in one of the accounts."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = REGISTRY if registry is None else registry
        self.spans = Counter(
            "nexus_otlp_spans",
            "Spans received, by what became of them: kept, told_elsewhere, not_kept, rejected.",
            ("fate",),
            registry=registry,
        )
        self.log_records = Counter(
            "nexus_otlp_log_records",
            "Log records received, by what became of them: kept, not_kept, rejected.",
            ("fate",),
            registry=registry,
        )
        self.data_points = Counter(
            "nexus_otlp_data_points",
            "Points of metrics received, by what became of them: kept, not_kept, rejected.",
            ("fate",),
            registry=registry,
        )
        self.exceptions = Counter(
            "nexus_otlp_exceptions",
            "Exceptions in spans, by what became of them: kept, rejected.",
            ("fate",),
            registry=registry,
        )
        self.turned_away = Counter(
            "nexus_otlp_requests_turned_away",
            "Requests not answered with 200, by reason.",
            ("reason",),
            registry=registry,
        )


@dataclass(frozen=True, slots=True)
class _Form:
    """One of the two forms of OTLP."""

    media_type: bytes
    read_spans: Callable[[bytes], Iterator[Span]]
    spans_answer: Callable[[int, str], bytes]
    read_logs: Callable[[bytes], Iterator[LogRecord]]
    logs_answer: Callable[[int, str], bytes]
    read_points: Callable[[bytes], Iterator[DataPoint]]
    points_answer: Callable[[int, str], bytes]
    status_answer: Callable[[int, str], bytes]


def _form(module: ModuleType) -> _Form:
    return _Form(
        module.MEDIA_TYPE.encode(),
        module.read_spans,
        module.spans_answer,
        module.read_logs,
        module.logs_answer,
        module.read_points,
        module.points_answer,
        module.status_answer,
    )


_PROTOBUF, _JSON = _form(protobuf), _form(json_form)
_FORMS = {"application/x-protobuf": _PROTOBUF, "application/protobuf": _PROTOBUF, "application/json": _JSON}


Records = Sequence[ApiCall | ToolCall | McpRequest | ErrorRecord | MetricRecord]


@dataclass(slots=True)
class _Read:
    """What a request came to: the records made of its items, those made beside them, and the account of the other items."""

    records: Records
    beside: Records = ()
    messages: Records = ()
    """Second records of items that make two."""
    faults: Sequence[str] = ()
    fates: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Signal:
    """One kind of telemetry: how a request is read and answered, and where its items are counted."""

    read: Callable[[_Form, bytes, Reporter], _Read]
    answer: Callable[[_Form, int, str], bytes]
    counter: Callable[[OtlpMetrics], Counter]


def _read_traces(form: _Form, body: bytes, reporter: Reporter) -> _Read:
    read = read_calls(form.read_spans(body), reporter)
    fates = {"told_elsewhere": read.told_elsewhere, "not_kept": read.not_kept}
    return _Read(read.records, read.errors, read.messages, read.faults, fates)


def _read_logs(form: _Form, body: bytes, _: Reporter) -> _Read:
    read = read_errors(form.read_logs(body))
    return _Read(read.records, fates={"not_kept": read.not_kept})


def _read_metrics(form: _Form, body: bytes, _: Reporter) -> _Read:
    read = read_metrics(form.read_points(body))
    return _Read(read.records, faults=read.faults, fates={"not_kept": read.not_kept})


_SIGNALS: Mapping[str, _Signal] = {
    PREFIX + "v1/traces": _Signal(
        _read_traces, lambda form, count, why: form.spans_answer(count, why), lambda metrics: metrics.spans
    ),
    PREFIX + "v1/metrics": _Signal(
        _read_metrics, lambda form, count, why: form.points_answer(count, why), lambda metrics: metrics.data_points
    ),
    PREFIX + "v1/logs": _Signal(
        _read_logs, lambda form, count, why: form.logs_answer(count, why), lambda metrics: metrics.log_records
    ),
}


class OtlpApp:
    """The ASGI application. Give it the requests whose path begins with `PREFIX`."""

    def __init__(
        self,
        ingest: Ingest,
        *,
        own_urls: tuple[str, ...],
        on_use: OnUse = ignore_use,
        metrics: OtlpMetrics | None = None,
        limits: OwnLimits | None = None,
    ) -> None:
        self._ingest = ingest
        self._limits = limits or OwnLimits()
        self._on_use = on_use
        self._hosts = Hosts(own_urls)
        self._held = HeldBytes()
        self.metrics = metrics or OtlpMetrics()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = read_headers(scope)
        request_id = str(scope.get("state", {}).get("request_id") or "") or str(uuid7())
        kind = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        form = _FORMS.get(kind)
        try:
            answer = await self._answer(scope, headers, form, receive)
        except HungUpError:
            return
        except NexusError as error:
            answer = self._refuse(error, form or _JSON)
        except Exception:
            # The process's edge: a fault of ours is told as one, never as the exporter's.
            log.exception("telemetry could not be read", path=scope["path"], request_id=request_id)
            answer = self._refuse(InternalError(), form or _JSON)
        await send_answer(scope, send, answer, request_id)

    async def _answer(
        self, scope: Scope, headers: Mapping[bytes, bytes], form: _Form | None, receive: Receive
    ) -> Answer:
        path: str = scope["path"]
        signal = _SIGNALS.get(path)
        if signal is None:
            raise NotFound(f"there is nothing at {path}: telemetry goes to {' and '.join(_SIGNALS)}")
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{path} takes POST only", allow="POST")
        if form is None:
            raise UnknownMediaType("send application/x-protobuf or application/json")
        snapshots = self._ingest.snapshots
        if not snapshots.is_loaded:
            raise NotLoaded(retry_after_seconds=1)
        # Before the body is awaited: key and caller then come from one snapshot.
        key = authenticate(headers, snapshots.keys, scope=SCOPE, at=self._ingest.clock.now())
        self._on_use(key)
        encoding = encoding_of(headers.get(b"content-encoding", b"").decode("latin-1"))
        reporter = self._reporter(key, headers)
        with self._held.begin() as held:
            body = await read_body(headers, receive, limit=MAX_BODY_BYTES, note=held.add)
            if len(body) > _THREAD_FROM_BYTES:
                body = await asyncio.to_thread(decompress, body, encoding, limit=MAX_BODY_BYTES)
            else:
                body = decompress(body, encoding, limit=MAX_BODY_BYTES)
            held.add(len(body))
            if len(body) > _THREAD_FROM_BYTES:
                read = await asyncio.to_thread(signal.read, form, body, reporter)
            else:
                read = signal.read(form, body, reporter)
            refused, is_spooled = await self._store(key, read.records, len(body))
            # An exception that is refused takes nothing from its span: it is told of, and not counted as a span.
            beside_refused, is_beside_spooled = await self._store(key, read.beside, 0)
            also_refused, is_also_spooled = await self._store(key, read.messages, 0)
        faults = [*read.faults, *refused]
        fates = signal.counter(self.metrics)
        fates.labels("kept").inc(len(read.records) - len(refused))
        fates.labels("rejected").inc(len(faults))
        for fate, count in read.fates.items():
            fates.labels(fate).inc(count)
        self.metrics.exceptions.labels("kept").inc(len(read.beside) - len(beside_refused))
        self.metrics.exceptions.labels("rejected").inc(len(beside_refused))
        durability = b"spooled" if is_spooled or is_beside_spooled or is_also_spooled else b"committed"
        content = signal.answer(form, len(faults), describe([*faults, *beside_refused, *also_refused]))
        return Answer(200, content, form.media_type, ((b"x-nexus-durability", durability),))

    async def _store(self, key: KeyEntry, records: Records, size_bytes: int) -> tuple[list[str], bool]:
        """Store records; returns why some were refused, and whether any went to the spool.

        What is stored when a later part is turned away is recognised by its ids when the whole comes again.
        """
        caller = self._ingest.caller_of(key)
        limit = self._ingest.limits.records
        refused: list[str] = []
        is_spooled = False
        for start in range(0, len(records), limit):
            part = records[start : start + limit]
            decision = await self._limits.records(
                key.organization_id, key.id, len(part), 0 if start else min(size_bytes, MAX_BODY_BYTES)
            )
            if not decision.is_admitted:
                raise refusal(decision)
            receipt = await self._ingest.submit(caller, part)
            is_spooled = is_spooled or receipt.durability == "spooled"
            for turned_down in receipt.refused:
                reasons = ", ".join(f"{fault.field} {fault.message}".strip() for fault in turned_down.errors)
                refused.append(f"{turned_down.id}: {reasons}")
        return refused, is_spooled

    def _reporter(self, key: KeyEntry, headers: Mapping[bytes, bytes]) -> Reporter:
        snapshots = self._ingest.snapshots
        hosts, table, organization_id = self._hosts, snapshots.gateway, key.organization_id
        asked_at = headers.get(b"host", b"").decode("latin-1")
        return Reporter(
            organization_id,
            key.application,
            snapshots.prices.book,
            provider_at=lambda host: hosts.provider_at(table, organization_id, host),
            is_gateway=lambda address: hosts.is_own(address, asked_at),
        )

    def _refuse(self, error: NexusError, form: _Form) -> Answer:
        self.metrics.turned_away.labels(error.code).inc()
        content = form.status_answer(_CODES.get(error.status, 2), error.detail)
        return Answer(error.status, content, form.media_type, encoded_headers(error))
