"""A span of the Model Context Protocol as records: of the request, and of the tool call where a tool was called.

The client's span and the server's tell of one request. Both make the record the same id: the client's span, which is the
server's parent, and the JSON-RPC id of the request; so whichever comes second is a duplicate.
"""

from __future__ import annotations

from typing import Any

import msgspec

from nexus.contracts.calls import MAX_TEXT_CHARS
from nexus.contracts.mcp_requests import McpRequest
from nexus.contracts.tool_calls import MAX_CONTENT_BYTES, MAX_STACK_CHARS, Outcome, ToolCall
from nexus.dataplane.ingest.otlp.genai import clip, error_of, record_id, span_details, tags_of
from nexus.dataplane.ingest.otlp.model import STATUS_ERROR, Span, SpanKind, text_in
from nexus.dataplane.ingest.otlp.times import duration_ms, instant

_TOOL = ("gen_ai.tool.name", "mcp.tool.name")
_CALL = "tools/call"
_NOTIFICATIONS = "notifications/"
_TARGETS = {_CALL: _TOOL, "prompts/get": ("gen_ai.prompt.name",), "resources/read": ("mcp.resource.uri",)}
_TOOL_ERROR = "tool_error"
_TRANSPORTS = {"pipe": "stdio", "tcp": "streamable_http", "quic": "streamable_http"}


def method_of(span: Span) -> str | None:
    """Return the method a span is about; None where it is no span of the protocol."""
    said = span.attributes
    if "mcp.method.name" in said:
        return text_in(said, "mcp.method.name") or None
    # Sentry's earlier names, and servers that say no more than the tool.
    return _CALL if text_in(said, "mcp.tool.name") else None


def is_tool_call(span: Span) -> bool:
    """Tell whether a span is a call of a named tool."""
    return method_of(span) == _CALL and bool(tool_of(span))


def is_request(span: Span) -> bool:
    """Tell whether a span is a request of the protocol; a notification is none, as nobody waits for an answer."""
    method = method_of(span)
    return method is not None and not method.startswith(_NOTIFICATIONS)


def tool_of(span: Span) -> str:
    """Return the name of the tool that a span is about."""
    named = text_in(span.attributes, *_TOOL)
    return clip(named or (span.name.removeprefix(f"{_CALL} ") if span.name.startswith(f"{_CALL} ") else ""))


def call_of(span: Span, *, application: str) -> ToolCall:
    """Make the record of a tool call. `ValueError` for times that are none."""
    said = span.attributes
    stack = next((text_in(event.attributes, "exception.stacktrace") for event in span.events), "")
    return ToolCall(
        tool=tool_of(span),
        id=_id_of(span),
        server_version=_version_of(span) or None,
        parameters=_object_in(text_in(said, "gen_ai.tool.call.arguments")),
        response=_json_in(text_in(said, "gen_ai.tool.call.result")),
        error_stack=clip(stack, MAX_STACK_CHARS) or None if _outcome_of(span) != "ok" else None,
        **_common(span, application),
    )


def request_of(span: Span, *, application: str) -> McpRequest:
    """Make the record of a request. `ValueError` for times that are none."""
    method = method_of(span) or ""
    target = tool_of(span) if method == _CALL else text_in(span.attributes, *_TARGETS.get(method, ()))
    return McpRequest(
        method=clip(method),
        id=f"request:{_id_of(span)}"[:200],
        target=clip(target) or None,
        **_common(span, application),
    )


def _common(span: Span, application: str) -> dict[str, Any]:
    said = span.attributes
    outcome = _outcome_of(span)
    error_type, message = error_of(span) if outcome != "ok" else ("", "")
    code = _text_of(said.get("rpc.response.status_code", said.get("rpc.jsonrpc.error_code")))
    return {
        "outcome": outcome,
        "timestamp": instant(span.start_ns),
        "server": _server_of(span) or None,
        "duration_ms": duration_ms(span.start_ns, span.end_ns),
        "error_type": error_type or None,
        "error_code": (code or (error_type if _is_number(error_type) else ""))[:64] or None,
        "error_message": message[:MAX_TEXT_CHARS] or None,
        "application": None if application else clip(text_in(span.resource, "service.name")) or None,
        "end_user": clip(text_in(said, "enduser.id", "user.id")) or None,
        "client_name": clip(text_in(said, "mcp.client.name")) or None,
        "client_version": clip(text_in(said, "mcp.client.version")) or None,
        "protocol_version": clip(text_in(said, "mcp.protocol.version")) or None,
        "transport": _TRANSPORTS.get(text_in(said, "network.transport"))
        or clip(text_in(said, "mcp.transport"))
        or None,
        "session_id": clip(text_in(said, "mcp.session.id")) or None,
        "request_id": _request_id(span) or None,
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "environment": clip(text_in(span.resource, "deployment.environment.name", "deployment.environment")) or None,
        "tags": tags_of(span.resource),
        "metadata": {"otel": span_details(span) | {"side": "client" if span.kind == SpanKind.CLIENT else "server"}},
    }


def _outcome_of(span: Span) -> Outcome:
    said = span.attributes
    error_type = text_in(said, "error.type")
    if error_type == _TOOL_ERROR or said.get("mcp.tool.result.is_error") is True:
        return "tool_error"
    return "protocol_error" if span.status == STATUS_ERROR or error_type else "ok"


def _id_of(span: Span) -> str:
    request_id = _request_id(span)
    anchor = span.span_id if span.kind == SpanKind.CLIENT else span.parent_id
    return f"mcp:{span.trace_id}:{anchor}:{request_id}"[:200] if request_id and anchor else record_id(span)


def _request_id(span: Span) -> str:
    said = span.attributes
    return _text_of(said.get("jsonrpc.request.id", said.get("mcp.request.id", said.get("rpc.jsonrpc.request_id"))))


def _server_of(span: Span) -> str:
    named = text_in(span.attributes, "mcp.server.name")
    own = "service.name" if span.kind != SpanKind.CLIENT else ""
    return clip(named or text_in(span.resource, own) or text_in(span.attributes, "server.address"))


def _version_of(span: Span) -> str:
    return "" if span.kind == SpanKind.CLIENT else clip(text_in(span.resource, "service.version"))


def _text_of(value: Any) -> str:
    return clip(str(value)) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _json_in(text: str) -> Any:
    if not text or len(text) > MAX_CONTENT_BYTES:
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError):
        return clip(text, MAX_CONTENT_BYTES)


def _object_in(text: str) -> dict[str, Any] | None:
    value = _json_in(text)
    return value if isinstance(value, dict) else None
