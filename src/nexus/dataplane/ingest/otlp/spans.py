"""From the spans of one request to the records they tell of, and the account of all the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from nexus.contracts.calls import ApiCall
from nexus.contracts.error_records import ErrorRecord
from nexus.contracts.mcp_requests import McpRequest
from nexus.contracts.prices import PriceBook
from nexus.contracts.sightings import MAX_REQUESTS
from nexus.contracts.tool_calls import ToolCall
from nexus.dataplane.ingest.otlp import exceptions, genai, http_spans, mcp_spans
from nexus.dataplane.ingest.otlp.http_spans import Address
from nexus.dataplane.ingest.otlp.model import Span, text_in
from nexus.dataplane.ingest.otlp.tree import Role, told_by_others

_OWN = "nexus.call.id"
"""In spans that Nexus itself exports."""
_TOOL_OPERATIONS = frozenset({"execute_tool", "TOOL", "tool", "ai.toolCall"})


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who reports, and by which tables it is read."""

    organization_id: UUID
    application: str
    """Of the access key; may be empty."""
    book: PriceBook
    provider_at: Callable[[str], str | None]
    """Whose a host is."""
    is_gateway: Callable[[Address], bool]
    """Whether an address is ours: what was called there, the gateway recorded itself."""


@dataclass(slots=True)
class Read:
    """What the spans of one request came to. Each is in exactly one of the four accounts."""

    records: list[ApiCall | ToolCall | McpRequest] = field(default_factory=list)
    messages: list[McpRequest] = field(default_factory=list)
    """Requests by which tools were called. Their spans are in the account as tool calls."""
    errors: list[ErrorRecord] = field(default_factory=list)
    """Exceptions that spans of any account met."""
    faults: list[str] = field(default_factory=list)
    """Of each span that is refused, why."""
    told_elsewhere: int = 0
    """Spans of a call that another span, or the gateway, tells of."""
    not_kept: int = 0
    """Spans that tell of no call."""


def read_calls(spans: Iterable[Span], reporter: Reporter) -> Read:
    """Sort the spans of one request. A faulty one is refused by itself; the others are read all the same."""
    read = Read()
    sound: list[Span] = []
    for span in spans:
        fault = span.fault
        if fault is None:
            sound.append(span)
        else:
            read.faults.append(f"{span.name[:80]!r}: {fault}")
    roles = {index: _role_of(span) for index, span in enumerate(sound)}
    told = told_by_others(sound, roles)
    requests: dict[int, list[str]] = {}
    for inner, outer in told.items():
        if roles[inner] is Role.HTTP:
            requests.setdefault(outer, []).append(sound[inner].span_id)
    for index, span in enumerate(sound):
        role = roles[index]
        if role in {Role.OTHER, Role.TOOL}:
            read.not_kept += 1
        elif index in told or _is_gateways(span, reporter) or (role is Role.INFERENCE and genai.is_only_begun(span)):
            read.told_elsewhere += 1
        else:
            _read_one(span, role, requests.get(index, []), reporter, read)
    read.errors += exceptions.errors_of([span for span in sound if _OWN not in span.attributes])
    return read


def _role_of(span: Span) -> Role:
    if mcp_spans.method_of(span) is not None:
        return Role.MCP if mcp_spans.is_request(span) else Role.TOOL
    if genai.operation_of(span) is not None:
        return Role.INFERENCE
    if (
        text_in(span.attributes, "gen_ai.operation.name", "openinference.span.kind", "ai.operationId")
        in _TOOL_OPERATIONS
    ):
        return Role.TOOL
    return Role.HTTP if http_spans.place_of(span) is not None else Role.OTHER


def _is_gateways(span: Span, reporter: Reporter) -> bool:
    # What Nexus exports may come back to it, by way of a collector.
    if _OWN in span.attributes:
        return True
    address = http_spans.address_of(span)
    return address is not None and reporter.is_gateway(address)


def _read_one(span: Span, role: Role, requests: list[str], reporter: Reporter, read: Read) -> None:
    record: ApiCall | ToolCall | McpRequest
    message: McpRequest | None = None
    try:
        if role is Role.MCP:
            record = message = mcp_spans.request_of(span, application=reporter.application)
            if mcp_spans.is_tool_call(span):
                record = mcp_spans.call_of(span, application=reporter.application)
        elif role is Role.INFERENCE:
            record = genai.call_of(
                span, book=reporter.book, organization_id=reporter.organization_id, application=reporter.application
            )
        else:
            record = http_spans.call_of(span, provider_at=reporter.provider_at, application=reporter.application)
        if requests and record.metadata is not None:
            # The gateway knows an inference by the request it was made with.
            record.metadata["otel"]["request_spans"] = requests[:MAX_REQUESTS]
    except ValueError as error:
        read.faults.append(f"{span.name[:80]!r}: {error}")
    else:
        read.records.append(record)
        if message is not None and message is not record:
            read.messages.append(message)


def describe(faults: Sequence[str], limit: int = 5) -> str:
    """Say why spans were refused, the first of them in words."""
    said = "; ".join(faults[:limit])
    return said if len(faults) <= limit else f"{said}; and {len(faults) - limit} more"
