"""The record of a call of an MCP tool as it travels: what a caller may send, its limits, and the columns it is stored in.

Two kinds of failure are different things: a *tool error* is an answer of the tool that says it failed (`isError`), a
*protocol error* is no answer of the tool at all (a JSON-RPC error, a time-out, a lost connection).
"""

# The annotations are read when the decoder is built, so this module does not postpone them.
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from nexus.contracts.calls import (
    MAX_ID_CHARS,
    MAX_METADATA_BYTES,
    MAX_METADATA_DEPTH,
    MAX_TAGS,
    MAX_TEXT_CHARS,
    MAX_USER_AGENT_CHARS,
    DurationMs,
    Name,
    ShortNames,
    SizeBytes,
)

MAX_CONTENT_BYTES = 64 * 1024
"""Of parameters, and of a response, as JSON."""
MAX_CONTENT_DEPTH = 32
MAX_STACK_CHARS = 32_768
MAX_CPU_PERCENT = 100_000
Outcome = Literal["ok", "tool_error", "protocol_error"]


class ToolCall(
    msgspec.Struct,
    tag="tool_call",
    tag_field="type",
    forbid_unknown_fields=True,
    kw_only=True,
    gc=False,
    omit_defaults=True,
):
    """One call of an MCP tool. `tool` and `outcome` are required, and `type`."""

    tool: Annotated[
        Annotated[str, Meta(min_length=1, max_length=200)],
        Meta(description="Name of the tool, as the server lists it."),
    ]
    outcome: Annotated[
        Outcome,
        Meta(
            description="`ok`, `tool_error` (the tool answered that it failed: `isError`) or `protocol_error` (the tool gave"
            " no answer: a JSON-RPC error, a time-out, a lost connection)."
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
            description="When the call began, RFC 3339 with a zone. Default: the time in a UUIDv7 id, else the receipt."
        ),
    ] = None
    server: Annotated[
        Name | None, Meta(description="Name of the MCP server, or of the package that offers the tool.")
    ] = None
    server_version: Annotated[Name | None, Meta(description="Version of the server.")] = None
    tool_version: Annotated[Name | None, Meta(description="Version of the tool.")] = None
    operation: Annotated[
        Name | None, Meta(description="What the tool was asked to do, where one tool does several.")
    ] = None
    duration_ms: Annotated[
        DurationMs | None,
        Meta(description="From the call to its answer, in ms."),
    ] = None
    memory_bytes: Annotated[SizeBytes | None, Meta(description="Memory the call took at most, in bytes.")] = None
    cpu_percent: Annotated[
        Annotated[float, Meta(ge=0, le=MAX_CPU_PERCENT)] | None,
        Meta(description="Processor time by duration, in percent of one core."),
    ] = None
    parameters: Annotated[
        dict[str, Any] | None,
        Meta(
            description=f"Arguments of the call, up to {MAX_CONTENT_BYTES} bytes of JSON, nested up to"
            f" {MAX_CONTENT_DEPTH} deep. What is secret or personal is masked before it is stored."
        ),
    ] = None
    response: Annotated[
        Any,
        Meta(description="The tool's answer, any JSON within the limits of `parameters`, masked as they are."),
    ] = None
    response_size_bytes: Annotated[
        SizeBytes | None, Meta(description="Size of the answer in bytes. Default: that of `response` as JSON.")
    ] = None
    cache_hit: Annotated[bool | None, Meta(description="Whether the answer came from a cache.")] = None
    error_type: Annotated[
        Name | None,
        Meta(description="Class of the error: the name of an exception, `timeout` and the like."),
    ] = None
    error_code: Annotated[
        Annotated[str, Meta(max_length=64)] | None,
        Meta(description="Code of the error, such as JSON-RPC's `-32602`."),
    ] = None
    error_message: Annotated[
        Annotated[str, Meta(max_length=MAX_TEXT_CHARS)] | None,
        Meta(description="Message of the error, masked as `parameters` are."),
    ] = None
    error_stack: Annotated[
        Annotated[str, Meta(max_length=MAX_STACK_CHARS)] | None,
        Meta(description="Stack of the error, masked as `parameters` are."),
    ] = None
    key: Annotated[
        Annotated[str, Meta(max_length=64)] | None,
        Meta(description="Id (never the text) of the access key that made the call. Default: the key of the request."),
    ] = None
    application: Annotated[
        Name | None,
        Meta(description="Application that called. Default: the application of the key."),
    ] = None
    user: Annotated[
        Name | None,
        Meta(
            description="Who called, as the server authenticated them: id or e-mail address of a member, or any name."
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
    trace_id: Annotated[Name | None, Meta(description="Id of the trace, such as W3C's 32 hexadecimal digits.")] = None
    span_id: Annotated[Name | None, Meta(description="Id of the span, such as W3C's 16 hexadecimal digits.")] = None
    environment: Annotated[Name | None, Meta(description="Where the server runs: `production`, `staging`.")] = None
    user_agent: Annotated[
        Annotated[str, Meta(max_length=MAX_USER_AGENT_CHARS)] | None,
        Meta(description="The client's User-Agent."),
    ] = None
    ip_address: Annotated[
        Annotated[str, Meta(max_length=64)] | None,
        Meta(description="The client's address, IPv4 or IPv6."),
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


TOOL_CALL_COLUMN_TYPES = MappingProxyType(
    {
        "ordinal": "int4",
        "organization_id": "uuid",
        "id": "uuid",
        "key_at": "timestamptz",
        "is_opaque": "bool",
        "occurred_at": "timestamptz",
        "received_at": "timestamptz",
        "server": "text",
        "tool": "text",
        "outcome": "text",
        "principal": "text",
        "client_name": "text",
        "client_version": "text",
        "application": "text",
        "user_ref": "text",
        "key_id": "uuid",
        "duration_us": "int8",
        "response_bytes": "int8",
        "memory_bytes": "int8",
        "cpu_percent": "float8",
        "cache_hit": "bool",
        "parameters": "jsonb",
        "parameters_hash": "text",
        "response": "jsonb",
        "error_type": "text",
        "error_code": "text",
        "error_message": "text",
        "error_stack": "text",
        "server_version": "text",
        "tool_version": "text",
        "operation": "text",
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
"""Columns of the table in which tool calls are staged for `mcp.store_tool_calls_v1()`, in order, with their types."""

TOOL_CALL_NOT_NULL = frozenset(
    {
        "ordinal", "organization_id", "id", "key_at", "is_opaque", "occurred_at", "received_at", "server", "tool",
        "outcome", "principal", "client_name", "client_version", "application", "user_ref", "response_bytes",
    }
)  # fmt: skip
"""Columns that always hold a value; the empty string stands for what a caller did not say."""
