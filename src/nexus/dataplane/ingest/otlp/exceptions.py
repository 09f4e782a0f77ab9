"""Exceptions that telemetry tells of, as records of errors.

An exception stands in an event of a span, in a log record, or in both, under `exception.*`. The id of the record is made
of the span, the class and the message, so that whichever comes second is a duplicate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec

from nexus.contracts.calls import MAX_PATH_CHARS, MAX_TEXT_CHARS
from nexus.contracts.error_records import ErrorRecord, Level
from nexus.contracts.tool_calls import MAX_CONTENT_BYTES, MAX_STACK_CHARS
from nexus.dataplane.ingest.otlp.genai import clip, tags_of
from nexus.dataplane.ingest.otlp.model import (
    SPAN_ID_DIGITS,
    TRACE_ID_DIGITS,
    Attributes,
    LogRecord,
    Span,
    is_id,
    text_in,
)
from nexus.dataplane.ingest.otlp.times import instant
from nexus.kit.errors import MalformedRequest

_EXCEPTION = "exception"
_TYPE, _MESSAGE, _STACK = "exception.type", "exception.message", "exception.stacktrace"
_ERROR_FROM = 17
"""The first severity number of errors."""
_LEVELS: tuple[tuple[int, Level], ...] = (
    (21, "fatal"),
    (_ERROR_FROM, "error"),
    (13, "warn"),
    (9, "info"),
    (1, "debug"),
)
_SEVERITY_TEXTS: Mapping[str, int] = {
    "fatal": 21, "critical": 21, "emergency": 21, "alert": 21, "panic": 21, "error": 17, "err": 17, "severe": 17,
}  # fmt: skip
_CONTENT = ("gen_ai.", "llm.", "ai.", "traceloop.", "input.", "output.", "openinference.", "exception.")
"""Attributes that may hold prompts and answers, which are never kept, and those that have fields of their own."""
_MAX_CONTEXT_BYTES = MAX_CONTENT_BYTES // 4
_WORDLESS = "an exception without a message"


@dataclass(slots=True)
class ReadLogs:
    """What the log records of one request came to."""

    records: list[ErrorRecord] = field(default_factory=list)
    not_kept: int = 0
    """Log records that tell of no error: accepted, and dropped."""


def errors_of(spans: Sequence[Span]) -> Iterator[ErrorRecord]:
    """Make records of the exceptions in spans.

    One that passes through several spans is told by each of them: of spans of one batch the innermost counts.
    """
    inner = {
        (span.trace_id, span.parent_id, *_told(event.attributes)) for span in spans for event in span.events
        if event.name == _EXCEPTION and span.parent_id
    }  # fmt: skip
    seen: Counter[str] = Counter()
    for span in spans:
        for event in span.events:
            if event.name != _EXCEPTION or (span.trace_id, span.span_id, *_told(event.attributes)) in inner:
                continue
            try:
                at = instant(event.time_ns or span.end_ns or span.start_ns)
            except ValueError:
                at = None
            escaped = event.attributes.get("exception.escaped")
            record = _record(
                event.attributes,
                span.resource,
                record_id=_id(seen, span.trace_id, span.span_id, event.attributes),
                at=at,
                trace_id=span.trace_id,
                span_id=span.span_id,
            )
            record.handled = not escaped if isinstance(escaped, bool) else None
            record.category = _category_of(span.attributes)
            record.url = clip(text_in(span.attributes, "url.full", "http.url"), MAX_PATH_CHARS) or None
            record.end_user = record.end_user or clip(text_in(span.attributes, "enduser.id", "user.id")) or None
            record.session_id = record.session_id or clip(text_in(span.attributes, "session.id")) or None
            record.context = _context(event.attributes, {"span": clip(span.name), "scope": clip(span.scope)})
            if method := text_in(span.attributes, "mcp.method.name"):
                tool = text_in(span.attributes, "gen_ai.tool.name", "mcp.tool.name")
                record.tool_context = {"method": clip(method)} | ({"tool": clip(tool)} if tool else {})
            yield record


def read_errors(logs: Iterator[LogRecord]) -> ReadLogs:
    """Make records of the log records that tell of an exception, or that are errors by their severity."""
    read = ReadLogs()
    seen: Counter[str] = Counter()
    for log in logs:
        severity = log.severity or _SEVERITY_TEXTS.get(log.severity_text.lower(), 0)
        is_exception = any(text_in(log.attributes, name) for name in (_TYPE, _MESSAGE, _STACK))
        if not is_exception and severity < _ERROR_FROM:
            read.not_kept += 1
            continue
        read.records.append(_error_of(log, severity, is_exception, seen))
    return read


def _error_of(log: LogRecord, severity: int, is_exception: bool, seen: Counter[str]) -> ErrorRecord:
    body = log.body if isinstance(log.body, str) else "" if log.body is None else _written(log.body)
    has_span = is_id(log.trace_id, TRACE_ID_DIGITS) and is_id(log.span_id, SPAN_ID_DIGITS)
    if is_exception and has_span:
        record_id = _id(seen, log.trace_id, log.span_id, log.attributes)
    else:
        # A log record has no id: the same one sent again has the same time and says the same.
        said = [log.time_ns, log.observed_ns, log.severity, log.event_name, body, log.scope, log.trace_id, log.span_id]
        digest = sha256(_written([*said, log.attributes, log.resource]).encode("utf-8", "replace")).hexdigest()[:32]
        record_id = f"log:{digest}:{seen[digest]}"
        seen[digest] += 1
    at_ns = log.time_ns or log.observed_ns
    record = _record(
        log.attributes,
        log.resource,
        record_id=record_id,
        at=instant(at_ns) if at_ns else None,
        trace_id=log.trace_id if is_id(log.trace_id, TRACE_ID_DIGITS) else "",
        span_id=log.span_id if has_span else "",
        message=body,
    )
    record.level = next((level for least, level in _LEVELS if severity >= least), "error")
    record.category = _category_of(log.attributes)
    more = {"scope": clip(log.scope), "event": clip(log.event_name)}
    if body and body != record.message:
        more["log"] = clip(body, MAX_TEXT_CHARS)
    record.context = _context(log.attributes, more)
    return record


def _record(
    said: Attributes,
    resource: Attributes,
    *,
    record_id: str,
    at: datetime | None,
    trace_id: str,
    span_id: str,
    message: str = "",
) -> ErrorRecord:
    told = text_in(said, _MESSAGE) or message or text_in(said, _TYPE) or _WORDLESS
    return ErrorRecord(
        message=clip(told, MAX_TEXT_CHARS) or _WORDLESS,
        level="error",
        id=record_id,
        timestamp=at,
        error_type=clip(text_in(said, _TYPE)) or None,
        error_code=clip(text_in(said, "error.code"), 64) or None,
        stack_trace=clip(text_in(said, _STACK), MAX_STACK_CHARS) or None,
        service=clip(text_in(resource, "service.name")) or None,
        service_version=clip(text_in(resource, "service.version")) or None,
        environment=clip(text_in(resource, "deployment.environment.name", "deployment.environment")) or None,
        deployment_id=clip(text_in(resource, "deployment.id", "service.instance.id")) or None,
        end_user=clip(text_in(said, "enduser.id", "user.id")) or None,
        session_id=clip(text_in(said, "session.id")) or None,
        trace_id=trace_id or None,
        span_id=span_id or None,
        tags=tags_of(resource),
    )


def _told(said: Attributes) -> tuple[str, str]:
    return text_in(said, _TYPE), text_in(said, _MESSAGE)


def _id(seen: Counter[str], trace_id: str, span_id: str, said: Attributes) -> str:
    digest = sha256("\0".join(_told(said)).encode("utf-8", "replace")).hexdigest()[:16]
    name = f"exception:{trace_id}:{span_id}:{digest}"
    number = seen[name]
    seen[name] += 1
    return f"{name}:{number}"


def _category_of(said: Attributes) -> str | None:
    if text_in(said, "db.system.name", "db.system"):
        return "database"
    if text_in(said, "mcp.method.name", "mcp.tool.name"):
        return "mcp"
    if text_in(said, "gen_ai.provider.name", "gen_ai.system", "http.request.method", "http.method", "rpc.system"):
        return "external_api"
    return None


def _context(said: Attributes, more: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what else is said, as far as it is no content and not too much."""
    found = {name: value for name, value in more.items() if value}
    own = {clip(name): value for name, value in said.items() if not name.startswith(_CONTENT)}
    whole = found | {"attributes": own} if own else found
    text = _written(whole)
    if len(text.encode("utf-8", "replace")) > _MAX_CONTEXT_BYTES:
        return found or None
    # What NUL and bytes there are is gone: it is JSON by now.
    kept: dict[str, Any] = msgspec.json.decode(text.replace("\\u0000", ""))
    return kept or None


def _written(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise MalformedRequest(f"an attribute cannot be read: {error}") from error
