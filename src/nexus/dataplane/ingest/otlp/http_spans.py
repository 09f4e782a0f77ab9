"""A client's HTTP span as the record of an API call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from nexus.contracts.calls import MAX_PATH_CHARS, MAX_SIZE_BYTES, MAX_USER_AGENT_CHARS, ApiCall
from nexus.dataplane.ingest.otlp import attributes as names
from nexus.dataplane.ingest.otlp.genai import as_slug, clip, error_of, record_id, span_details, tags_of
from nexus.dataplane.ingest.otlp.model import Span, SpanKind, number_in, text_in
from nexus.dataplane.ingest.otlp.times import duration_ms, instant

_METHOD = ("http.request.method", "http.method")
_URL = ("url.full", "http.url")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Address(NamedTuple):
    """Where a client connects to."""

    host: str
    port: int | None


class Place(NamedTuple):
    """What was called."""

    address: Address
    path: str


def place_of(span: Span) -> Place | None:
    """Return what a client's HTTP span called; None for every other span, and where it does not say."""
    if span.kind != SpanKind.CLIENT or not text_in(span.attributes, *_METHOD):
        return None
    return _called(span)


def address_of(span: Span) -> Address | None:
    """Return the server that a client's span of any kind names."""
    called = _called(span)
    return called.address if called else None


def _called(span: Span) -> Place | None:
    said = span.attributes
    url = text_in(said, *_URL)
    path = text_in(said, "url.path", "http.target")
    host, port = text_in(said, *names.SERVER_ADDRESS), number_in(said, *names.SERVER_PORT)
    scheme = text_in(said, "url.scheme", "http.scheme")
    if "://" in host:
        url, host = url or host, ""
    if url:
        try:
            parts = urlsplit(url)
            host, scheme, path = parts.hostname or host, parts.scheme or scheme, parts.path or path
            port = parts.port if parts.port is not None else port
        except ValueError:
            return None
    if not host:
        return None
    number = int(port) if port is not None else _DEFAULT_PORTS.get(scheme)
    return Place(Address(host.lower(), number), path.partition("?")[0])


def call_of(span: Span, *, provider_at: Callable[[str], str | None], application: str) -> ApiCall:
    """Make the record of an HTTP request. `provider_at` knows whose a host is. `ValueError` for times that are none."""
    place = place_of(span)
    if place is None:
        raise ValueError("it does not say what was called")
    said = span.attributes
    error_type, error_message = error_of(span)
    status = number_in(said, *names.STATUS)
    host = place.address.host
    details: dict[str, Any] = span_details(span) | {"server": clip(host)}
    return ApiCall(
        provider=provider_at(host) or as_slug(host),
        status_code=int(status) if status is not None and status <= 999 else 0,
        id=record_id(span),
        timestamp=instant(span.start_ns),
        endpoint=clip(text_in(said, "url.template", "http.route")) or None,
        path=clip(place.path, MAX_PATH_CHARS) or "/",
        method=_method(text_in(said, *_METHOD)),
        response_time_ms=duration_ms(span.start_ns, span.end_ns),
        request_size_bytes=_size(span, "http.request.body.size", "http.request_content_length"),
        response_size_bytes=_size(span, "http.response.body.size", "http.response_content_length"),
        trace_id=span.trace_id,
        application=None if application else clip(text_in(span.resource, "service.name")) or None,
        tags=tags_of(span.resource),
        metadata={"otel": details},
        error_type=error_type or None,
        error_message=error_message or None,
        user_agent=clip(text_in(said, "user_agent.original", "http.user_agent"), MAX_USER_AGENT_CHARS) or None,
    )


def _method(text: str) -> str | None:
    return text[:16].upper() if text.isascii() and text.isalpha() else None


def _size(span: Span, *attributes: str) -> int:
    value = number_in(span.attributes, *attributes)
    return 0 if value is None else min(int(value), MAX_SIZE_BYTES)
