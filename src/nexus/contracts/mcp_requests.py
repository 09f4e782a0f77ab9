"""The record of a request to an MCP server as it travels: what a caller may send, and the columns it is stored in."""

# The annotations are read when the decoder is built, so this module does not postpone them.
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from nexus.contracts.calls import (
    MAX_ID_CHARS,
    MAX_METADATA_BYTES,
    MAX_METADATA_DEPTH,
    MAX_PATH_CHARS,
    MAX_TAGS,
    MAX_TEXT_CHARS,
    MAX_USER_AGENT_CHARS,
    DurationMs,
    Headers,
    Name,
    ShortNames,
    SizeBytes,
)
from nexus.contracts.tool_calls import MAX_CONTENT_BYTES, MAX_CONTENT_DEPTH, Outcome


class McpRequest(
    msgspec.Struct,
    tag="mcp_request",
    tag_field="type",
    forbid_unknown_fields=True,
    kw_only=True,
    gc=False,
    omit_defaults=True,
):
    """One message of the protocol that asks for something. `method` and `outcome` are required, and `type`."""

    method: Annotated[
        Annotated[str, Meta(min_length=1, max_length=200)],
        Meta(description="Method of the protocol: `tools/call`, `resources/read`, `prompts/get`, `server/discover`."),
    ]
    outcome: Annotated[
        Outcome,
        Meta(
            description="`ok`, `tool_error` (a tool answered that it failed: `isError`) or `protocol_error` (a JSON-RPC error,"
            " a status from 400 up, no answer)."
        ),
    ]
    id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)] | None,
        Meta(
            description="What makes the record one record: a UUIDv7 is best, any text will do. Without it the request"
            " needs an `Idempotency-Key`."
        ),
    ] = None
    timestamp: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(
            description="When the request came, RFC 3339 with a zone. Default: the time in a UUIDv7 id, else the receipt."
        ),
    ] = None
    server: Annotated[Name | None, Meta(description="Name of the MCP server.")] = None
    target: Annotated[
        Name | None, Meta(description="What is asked for: the tool, the prompt, the resource (its URI without query).")
    ] = None
    status_code: Annotated[
        Annotated[int, Meta(ge=0, le=999)] | None,
        Meta(description="HTTP status of the answer; 0 when no answer came; nothing over stdio."),
    ] = None
    http_method: Annotated[
        Annotated[str, Meta(max_length=16, pattern="^[A-Za-z]*$")] | None, Meta(description="HTTP method.")
    ] = None
    path: Annotated[
        Annotated[str, Meta(max_length=MAX_PATH_CHARS)] | None, Meta(description="Path of the request, without query.")
    ] = None
    query: Annotated[
        ShortNames | None, Meta(description="Query of the request; values of secret names are masked.")
    ] = None
    request_headers: Annotated[
        Headers | None, Meta(description="Headers of the request; only those on the allow-list are kept, redacted.")
    ] = None
    response_headers: Annotated[
        Headers | None, Meta(description="Headers of the answer; only those on the allow-list are kept, redacted.")
    ] = None
    request_body: Annotated[
        Any,
        Meta(
            description=f"Parameters of the request, any JSON up to {MAX_CONTENT_BYTES} bytes, nested up to"
            f" {MAX_CONTENT_DEPTH} deep. What is secret or personal is masked before it is stored."
        ),
    ] = None
    response_body: Annotated[Any, Meta(description="Result of the request, as `request_body`.")] = None
    request_size_bytes: Annotated[SizeBytes | None, Meta(description="Size of the request in bytes.")] = None
    response_size_bytes: Annotated[SizeBytes | None, Meta(description="Size of the answer in bytes.")] = None
    duration_ms: Annotated[DurationMs | None, Meta(description="From the request to its answer, in ms.")] = None
    queue_ms: Annotated[DurationMs | None, Meta(description="Part of it before work began, in ms.")] = None
    processing_ms: Annotated[DurationMs | None, Meta(description="Part of it that was work, in ms.")] = None
    error_type: Annotated[Name | None, Meta(description="Class of the error.")] = None
    error_code: Annotated[
        Annotated[str, Meta(max_length=64)] | None, Meta(description="Code of the error, such as JSON-RPC's `-32602`.")
    ] = None
    error_message: Annotated[
        Annotated[str, Meta(max_length=MAX_TEXT_CHARS)] | None,
        Meta(description="Message of the error, masked as `request_body` is."),
    ] = None
    key: Annotated[
        Annotated[str, Meta(max_length=64)] | None,
        Meta(description="Id (never the text) of the access key that asked. Default: the key of the request."),
    ] = None
    application: Annotated[
        Name | None, Meta(description="Application that asked. Default: the application of the key.")
    ] = None
    user: Annotated[
        Name | None,
        Meta(
            description="Who asked, as the server authenticated them: id or e-mail address of a member, or any name."
            " Default: the key's user."
        ),
    ] = None
    end_user: Annotated[Name | None, Meta(description="User of the application, as the application names them.")] = None
    client_name: Annotated[Name | None, Meta(description="Name of the MCP client (`clientInfo.name`).")] = None
    client_version: Annotated[Name | None, Meta(description="Version of the MCP client (`clientInfo.version`).")] = None
    protocol_version: Annotated[Name | None, Meta(description="Revision of the protocol, such as `2026-07-28`.")] = None
    transport: Annotated[
        Name | None, Meta(description="How client and server speak: `stdio`, `streamable_http`, `sse` or another.")
    ] = None
    session_id: Annotated[
        Name | None,
        Meta(description="The protocol's session, in revisions that have one. Leave it out where there is none."),
    ] = None
    request_id: Annotated[Name | None, Meta(description="JSON-RPC id of the request.")] = None
    correlation_id: Annotated[Name | None, Meta(description="Id by which the caller knows it.")] = None
    trace_id: Annotated[Name | None, Meta(description="Id of the trace, such as W3C's 32 hexadecimal digits.")] = None
    span_id: Annotated[Name | None, Meta(description="Id of the span, such as W3C's 16 hexadecimal digits.")] = None
    environment: Annotated[Name | None, Meta(description="Where the server runs: `production`, `staging`.")] = None
    user_agent: Annotated[
        Annotated[str, Meta(max_length=MAX_USER_AGENT_CHARS)] | None, Meta(description="The client's User-Agent.")
    ] = None
    ip_address: Annotated[
        Annotated[str, Meta(max_length=64)] | None, Meta(description="The client's address, IPv4 or IPv6.")
    ] = None
    tags: Annotated[
        Annotated[ShortNames, Meta(max_length=MAX_TAGS)] | None,
        Meta(description="For attribution: team, feature, customer and the like."),
    ] = None
    metadata: Annotated[
        dict[str, Any] | None,
        Meta(
            description=f"Anything else, up to {MAX_METADATA_BYTES} bytes of JSON,"
            f" nested up to {MAX_METADATA_DEPTH} deep."
        ),
    ] = None


MCP_REQUEST_COLUMN_TYPES = MappingProxyType(
    {
        "ordinal": "int4",
        "organization_id": "uuid",
        "id": "uuid",
        "key_at": "timestamptz",
        "is_opaque": "bool",
        "occurred_at": "timestamptz",
        "received_at": "timestamptz",
        "server": "text",
        "method": "text",
        "target": "text",
        "outcome": "text",
        "status_code": "int2",
        "principal": "text",
        "client_name": "text",
        "client_version": "text",
        "application": "text",
        "user_ref": "text",
        "key_id": "uuid",
        "duration_us": "int8",
        "queue_us": "int8",
        "processing_us": "int8",
        "request_bytes": "int8",
        "response_bytes": "int8",
        "http_method": "text",
        "path": "text",
        "query": "jsonb",
        "request_headers": "jsonb",
        "response_headers": "jsonb",
        "request_body": "jsonb",
        "response_body": "jsonb",
        "error_type": "text",
        "error_code": "text",
        "error_message": "text",
        "correlation_id": "text",
        "end_user": "text",
        "protocol_version": "text",
        "transport": "text",
        "session_id": "text",
        "request_id": "text",
        "trace_id": "text",
        "span_id": "text",
        "environment": "text",
        "user_agent": "text",
        "ip_address": "inet",
        "tags": "jsonb",
        "metadata": "jsonb",
    }
)
"""Columns of the table in which requests are staged for `mcp.store_requests_v1()`, in order, with their types."""

MCP_REQUEST_NOT_NULL = frozenset(
    {
        "ordinal", "organization_id", "id", "key_at", "is_opaque", "occurred_at", "received_at", "server", "method",
        "target", "outcome", "principal", "client_name", "client_version", "application", "user_ref", "request_bytes",
        "response_bytes",
    }
)  # fmt: skip
"""Columns that always hold a value; the empty string stands for what a caller did not say."""
